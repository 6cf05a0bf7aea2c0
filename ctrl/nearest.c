// Distance of words, for suggestions in error sentences. Pure, any thread.
#include "nearest.h"

#include <limits.h>
#include <string.h>

#define MAX_WORD 63

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

// Optimal string alignment, three rows of its table.
unsigned nearest_distance(const char *a, const char *b)
{
	unsigned rows[3][MAX_WORD + 1];
	unsigned n_a = (unsigned)strnlen(a, MAX_WORD + 1), n_b = (unsigned)strnlen(b, MAX_WORD + 1);

	if (n_a > MAX_WORD || n_b > MAX_WORD)
		return UINT_MAX;
	for (unsigned j = 0; j <= n_b; j++)
		rows[0][j] = j;
	for (unsigned i = 1; i <= n_a; i++) {
		unsigned *now = rows[i % 3], *last = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
		now[0] = i;
		for (unsigned j = 1; j <= n_b; j++) {
			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = min3(now[j], before[j - 2] + 1, UINT_MAX);
		}
	}
	return rows[n_a % 3][n_b];
}

unsigned nearest_rank(const char *typed, const char *known)
{
	unsigned d = nearest_distance(typed, known);

	return d <= 1 + strlen(known) / 4 ? d : UINT_MAX;
}
