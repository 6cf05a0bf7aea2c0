// Values and tables as text for people: aligned columns, numbers to the right, "-" for nothing. Pure.
#pragma once

#include <jansson.h>
#include <stdio.h>

// One value on one line: yes/no, lists with commas, "-" for null, absent or empty. To be freed.
char *cell_text(const json_t *value);

// Rows are objects, columns are {"name": ...}. Prints nothing, not even heads, without rows. Columns that no row
// has are left out; values that are objects follow behind the table, a line per member.
void table_print(FILE *out, const json_t *columns, const json_t *rows);

// Text that others wrote: control characters (but line ends and tabs) become "?", so that no name
// plays tricks with the terminal.
void text_print(FILE *out, const char *text);
