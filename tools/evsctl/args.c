// Takes options out of the command line wherever they stand; what is left are the words.
#include "args.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>

static int timeout_read(const char *text, int *timeout_ms, struct err *e)
{
	char *end;
	long s = strtol(text, &end, 10);

	if (*end || end == text || s < 1 || s > 86400)
		return err_set(e, -EINVAL, "-t %s: give a number of seconds, 1 to 86400", text);
	*timeout_ms = (int)s * 1000;
	return 0;
}

static int option_take(struct args *a, int option, char *const *argv, struct err *e)
{
	switch (option) {
	case 1:
		a->word[a->n_words++] = optarg;
		return 0;
	case 's':
		a->socket = optarg;
		return 0;
	case 'j':
		a->json = true;
		return 0;
	case 'w':
		a->watch = true;
		return 0;
	case 't':
		return timeout_read(optarg, &a->timeout_ms, e);
	case 'h':
		a->help = true;
		return 0;
	case 'V':
		a->version = true;
		return 0;
	case 'M':
		a->man = true;
		return 0;
	case ':':
		return err_set(e, -EINVAL, "%s needs a value", argv[optind - 1]);
	default:
		return err_set(e, -EINVAL,
			       "unknown option %s; evsctl --help lists them (a value that begins "
			       "with \"-\" goes behind \"--\")",
			       argv[optind - 1]);
	}
}

int args_read(struct args *a, int argc, char **argv, struct err *e)
{
	static const struct option longs[] = {
	    {"socket", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'},
	    {"watch", no_argument, NULL, 'w'},        {"timeout", required_argument, NULL, 't'},
	    {"help", no_argument, NULL, 'h'},         {"version", no_argument, NULL, 'V'},
	    {"man", no_argument, NULL, 'M'},          {0},
	};
	const char *env = getenv("EVS_SOCKET");
	int option;

	*a = (struct args){.timeout_ms = 10000};
	a->socket = env && *env ? env : "/run/evswitch/control.sock";
	a->word = calloc(argc + 1, sizeof(*a->word));
	if (!a->word)
		return err_set(e, -ENOMEM, "out of memory");
	opterr = 0;
	while ((option = getopt_long(argc, argv, "-:s:jwt:h", longs, NULL)) != -1)
		if (option_take(a, option, argv, e) < 0)
			return e->code;
	while (optind < argc)
		a->word[a->n_words++] = argv[optind++];
	return 0;
}
