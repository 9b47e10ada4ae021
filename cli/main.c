#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "text.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{ "keygen", cmd_keygen, "make a master key and a signing key" },
	{ "encrypt", cmd_encrypt, "encrypt a model: a file, or a folder with all that is in it" },
	{ "decrypt", cmd_decrypt, "write the plain model back to a file or folder" },
	{ "inspect", cmd_inspect, "show what a file says of itself; needs no key" },
	{ "rewrap", cmd_rewrap, "new keys and policy for encrypted files, data untouched" },
	{ "licence", cmd_licence, "copies of a model for customers, and how long they open" },
	{ "policy", cmd_policy, "try a policy, or explain what it says now" },
	{ "verify", cmd_verify, "check signature and every byte of files" },
	{ "run", cmd_run, "run a program that sees plain models, or not at all" },
	{ "check", cmd_check, "say whether a running process is covered and could open models" },
	{ "doctor", cmd_doctor, "say what works here, and what to do about the rest" },
	{ "add", cmd_add, "give keys to the agent" },
	{ "list", cmd_list, "show which keys the agent has" },
	{ "remove", cmd_remove, "take keys from the agent" },
	{ "lock", cmd_lock, "lock the agent with a passphrase" },
	{ "unlock", cmd_unlock, "unlock the agent" },
	{ "status", cmd_status, "show how the agent is doing" },
};

static void help(FILE *to)
{
	fputs("usage: ct COMMAND [OPTIONS] …\n\n", to);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		fprintf(to, "  %-8s  %s\n", commands[i].name, commands[i].what);
	fputs("\nct COMMAND --help tells more. Exit status: 0 ok, 1 the answer is no (verify, doctor, policy, check), 2 usage, 3 any other failure.\n", to);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return CLI_USAGE;
	}
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			cli.command = commands[i].name;
			opterr = 0;
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
		help(stdout);
		return CLI_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("ct " CT_VERSION "\n%s, %s\n", OpenSSL_version(OPENSSL_VERSION), CT_CRYPTO);
		return CLI_OK;
	}
	fprintf(stderr, "ct: there is no command %s; see ct --help\n", TEXT(argv[1], strlen(argv[1])));
	return CLI_USAGE;
}
