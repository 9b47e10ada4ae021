/*
 * cli: what every subcommand of ct shares: exit status, messages, options, JSON output.
 *
 * ct is one process a command, so the options that all have (quiet, JSON) live here once. Only subcommands that work on files
 * start threads; messages are printed by the main thread alone.
 */
#ifndef CT_CLI_H
#define CT_CLI_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "err.h"
#include "header.h"

enum cli_status {
	CLI_OK = 0,
	CLI_NO = 1,     /* the answer is no: ct verify, ct doctor, ct policy, ct check */
	CLI_USAGE = 2,
	CLI_FAILED = 3, /* any other failure; its errno's name stands in the message */
	CLI_RUN = 125,  /* ct run itself failed */
};

struct cli {
	const char *command; /* "encrypt" */
	const char *help;    /* its whole help text */
	bool quiet, json;
};

extern struct cli cli;

/* For getopt_long(): the options that every subcommand has, and their letters. */
#define CLI_OPTIONS { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, CLI_VERSION }, { "quiet", no_argument, NULL, 'q' }
#define CLI_LETTERS "hq"
enum { CLI_VERSION = 1000, CLI_JSON, CLI_FORCE, CLI_OWN }; /* a subcommand's own long options count from CLI_OWN */

/*
 * Deals with an option that is not the subcommand's own: -1 to go on, else the status to leave with (help and version were
 * printed, or the option is unknown and that was said).
 */
int cli_option(int opt, char **argv);

/* Says `ct COMMAND: …; see ct COMMAND --help` and returns CLI_USAGE. */
int cli_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * Says `ct: FILE: ERRNO: why` on stderr (and with --json the same as an object on stdout); returns CLI_FAILED. file may be
 * NULL.
 */
int cli_failed(const char *file, const struct err *err);

/* An error of ct's own, by errno: err->text is the format alone, without strerror(). Returns -1. */
int cli_err(struct err *err, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* A line on stderr, unless -q. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Appends JSON text that someone else wrote (and that parses), its strings spelled as text_json() does. */
void cli_json_text(struct buf *b, const void *s, size_t len);

/* Writes b to stdout with a newline, releases it; CLI_OK, or CLI_FAILED with a message. */
int cli_print(struct buf *b);

/* Plain decimal, min … max; `suffixes`: also K, M and G (binary). false: not that. */
bool cli_number(const char *text, uint64_t min, uint64_t max, bool suffixes, uint64_t *v);

/* How many threads to use unless told: the processors this process may run on. */
unsigned int cli_jobs(void);

/* getenv() in the shape that agent_client.h asks for. */
const char *cli_env(const char *name);

/* A size for people: "1.3 GiB", exact in bytes below 10 KiB. */
const char *cli_size(char out[32], uint64_t bytes);

int cmd_keygen(int argc, char **argv);
int cmd_encrypt(int argc, char **argv);
int cmd_decrypt(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_rewrap(int argc, char **argv);
int cmd_licence(int argc, char **argv);
int cmd_policy(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_add(int argc, char **argv);
int cmd_list(int argc, char **argv);
int cmd_remove(int argc, char **argv);
int cmd_lock(int argc, char **argv);
int cmd_unlock(int argc, char **argv);
int cmd_status(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);

#endif
