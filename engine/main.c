/* ct-policy-rego: a policy engine for ct-agent, with librego. Interface: docs/POLICY.md. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "input.h"
#include "jail.h"
#include "rego.h"
#include "scan.h"
#include "screen.h"
#include "text.h"

#define TEXT_LEN_MAX (1u << 20) /* bytes of a policy, and of an input */

enum { EXIT_VERDICT = 0, EXIT_USAGE = 2, EXIT_FAILED = 3, EXIT_REFUSED = 4, EXIT_ENGINE = 5 };

static const char usage[] =
	"usage: ct-policy-rego --librego PATH\n"
	"A policy engine for ct-agent: ct-agent --policy-engine 'exec:/PATH/TO/ct-policy-rego --librego PATH'\n"
	"\n"
	"  --librego PATH  librego_shared.so of rego-cpp 1.5 (pip install regopy), an absolute path\n"
	"      --help, --version\n"
	"\n"
	"Reads the input (a JSON object) from stdin and the policy from descriptor 3, writes true, false or undefined to descriptor 4.\n"
	"Exit status: 0 that is the verdict; 2 usage; 3 could not load the library, lock itself in or read;\n"
	"4 policy or input refused unasked; 5 the engine failed, or gave another value\n";

static int words = 2; /* the descriptor for people */

/* One bounded line, in one write: stdio may not be what it was. Strings in it are escaped. */
static int complain(int status, const char *what, const struct err *why)
{
	char line[700];
	int n = snprintf(line, sizeof line, "ct-policy-rego: %s%s%s\n", what, *what && why ? ": " : "", why ? why->text : "");

	if (n >= (int)sizeof line)
		n = (int)sizeof line - 1;
	if (write(words, line, (size_t)n) < 0)
		return status; /* nobody listens */
	return status;
}

/* The whole descriptor, or one byte more than is allowed; NUL-terminated, to be freed by nobody. */
static char *read_all(int fd, size_t *len, struct err *err)
{
	char *text = malloc(TEXT_LEN_MAX + 2);
	ssize_t n = 1;

	*len = 0;
	if (!text) {
		err_sys(err, ENOMEM, "reading");
		return NULL;
	}
	while (n > 0 && *len <= TEXT_LEN_MAX) {
		n = read(fd, text + *len, TEXT_LEN_MAX + 1 - *len);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			*len += (size_t)n;
	}
	if (n < 0) {
		err_sys(err, errno, "reading");
		return NULL;
	}
	text[*len] = '\0';
	return text;
}

/* 0, and the policy is without its comments; or the exit status after a word on stderr. */
static int screen(char *policy, size_t policy_len, const char *input, size_t input_len)
{
	struct input_traits traits;
	struct scan_token *tokens;
	struct err why = { 0 };
	long count;

	if (policy_len > TEXT_LEN_MAX || input_len > TEXT_LEN_MAX)
		return complain(EXIT_REFUSED, policy_len > TEXT_LEN_MAX ? "the policy is too long" : "the input is too long", NULL);
	if (input_check(input, input_len, &traits, &why))
		return complain(EXIT_REFUSED, "the input", &why);
	tokens = malloc((policy_len + 1) * sizeof *tokens);
	if (!tokens)
		return complain(EXIT_FAILED, "no memory", NULL);
	count = scan_policy(policy, policy_len, tokens, &why);
	if (count < 0 || screen_policy(policy, tokens, (size_t)count, &traits, &why))
		return complain(EXIT_REFUSED, count < 0 ? "the policy" : "", &why);
	scan_blank(policy, policy_len, tokens, count);
	free(tokens);
	return 0;
}

static int decide(const struct rego *lib)
{
	char *policy, *input;
	size_t policy_len, input_len;
	struct err why = { 0 };
	const char *verdict;
	int status;

	policy = read_all(JAIL_POLICY, &policy_len, &why);
	input = policy ? read_all(JAIL_INPUT, &input_len, &why) : NULL;
	if (!input)
		return complain(EXIT_FAILED, policy ? "the input" : "the policy", &why);
	status = screen(policy, policy_len, input, input_len);
	if (status)
		return status;
	verdict = rego_decide(lib, policy, input, &why);
	if (!verdict)
		return complain(EXIT_ENGINE, "", &why);
	if (write(JAIL_VERDICT, verdict, strlen(verdict)) != (ssize_t)strlen(verdict))
		return complain(EXIT_FAILED, "the verdict cannot be written", NULL);
	return EXIT_VERDICT;
}

/* A missing one would become the number of a file that the dynamic linker opens. */
static bool descriptors(void)
{
	lseek(JAIL_POLICY, 0, SEEK_SET); /* who wrote it stands at its end */
	return fcntl(JAIL_INPUT, F_GETFD) >= 0 && fcntl(JAIL_POLICY, F_GETFD) >= 0 && fcntl(JAIL_VERDICT, F_GETFD) >= 0;
}

int main(int argc, char **argv)
{
	struct rego lib;
	struct err why = { 0 };
	bool landlock = false;
	int status;

	if (argc == 2 && !strcmp(argv[1], "--help"))
		return fputs(usage, stdout) < 0 ? EXIT_FAILED : 0;
	if (argc == 2 && !strcmp(argv[1], "--version"))
		return puts("ct-policy-rego " CT_VERSION) < 0 ? EXIT_FAILED : 0;
	if (argc != 3 || strcmp(argv[1], "--librego") != 0 || argv[2][0] != '/')
		return complain(EXIT_USAGE, "it takes --librego with an absolute path (ct-policy-rego --help)", NULL);
	if (!descriptors())
		return complain(EXIT_USAGE, "it needs the input on descriptor 0, the policy on 3, and 4 for the verdict", NULL);
	jail_environment();
	jail_words();
	words = JAIL_WORDS;
	if (rego_load(&lib, argv[2], &why))
		return complain(EXIT_FAILED, "the library", &why);
	if (jail_enter(&landlock, &why))
		return complain(EXIT_FAILED, "it cannot lock itself in", &why);
	status = decide(&lib);
	if (!landlock) /* behind the reason of a failure: the first line is what people are shown */
		complain(0, "this kernel has no Landlock; went on without", NULL);
	_exit(status); /* the library's destructors would run on what is left */
}
