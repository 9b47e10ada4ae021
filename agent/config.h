/*
 * config: ct-agent's configuration file. Lines of words (words.h); '#' starts a comment; anything else is an error.
 *
 *     keep 60                     seconds that a view without users keeps its keys (0: not at all)
 *     allow-uid 1000              this user may open files, too; up to 64 lines
 *     environment LABEL           input.environment of policies
 *     attribute NAME VALUE        input.attributes.NAME; up to 64 lines
 *     policy FILE                 the operator's own policy: both it and the file's must allow
 *     remote ignore|refuse        files whose remote policy is not the default
 *     revoked FILE                a publisher's list of revoked licences; up to 16 lines
 *     clock FILE                  where the latest time that was seen is kept (licence_clock.h)
 *     allow …                     and ciphertext, deny: which programs may decrypt (rules.h); up to 256 lines
 *     token URI …                 a master key in a PKCS#11 token (tokens.h); up to 16 lines
 */
#ifndef CT_AGENT_CONFIG_H
#define CT_AGENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "err.h"
#include "rules.h"
#include "tokens.h"

#define CONFIG_ALLOW_MAX 64
#define CONFIG_KEEP_MAX 31536000u
#define CONFIG_ATTRIBUTES_MAX 64
#define CONFIG_REVOKED_MAX 16
#define CONFIG_POLICY_MAX 1048576u /* bytes */

struct config_attribute {
	char *name, *value; /* malloc'ed */
};

struct config {
	unsigned int keep_s;
	uid_t allow[CONFIG_ALLOW_MAX];
	size_t allow_count;
	struct rules rules;
	char *environment; /* malloc'ed; NULL: none */
	struct config_attribute attributes[CONFIG_ATTRIBUTES_MAX];
	size_t attribute_count;
	char *standing;    /* text of the operator's own policy; NULL: none */
	char *revoked[CONFIG_REVOKED_MAX]; /* absolute paths */
	size_t revoked_count;
	char *clock; /* absolute path; NULL: the default one */
	bool refuse_remote; /* files with a remote policy of their own */
	struct tokens tokens;
	unsigned int lifetime_s; /* of sets whose owner names none; 0: for ever. From -t, not from the file */
};

void config_default(struct config *c);
void config_release(struct config *c);

/*
 * Reads path over the defaults; config_release() also after a failure. Errors name the file and the line. A file that others could have
 * written is refused: whoever writes it decides who gets keys.
 */
int config_read(struct config *c, const char *path, struct err *err);

/* What it asks for is there. engine: a policy engine is. */
int config_check(const struct config *c, bool engine, struct err *err);

bool config_allows(const struct config *c, uid_t uid);

#endif
