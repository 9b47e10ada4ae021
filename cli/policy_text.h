/*
 * policy_text: the policies that most publishers need, written out of options of ct encrypt and ct rewrap: until when, on which machines, for which users.
 * docs/POLICY.md says what each is worth; policies/ has the same texts.
 *
 * Nothing of an option gets into a text but what was checked digit by digit.
 */
#ifndef CT_POLICY_TEXT_H
#define CT_POLICY_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "header.h"

struct policy_text {
	bool has_until, has_grace;
	int64_t until; /* seconds since 1970: the first at which it is over, without grace */
	uint64_t grace; /* days */
	struct buf machines, users; /* members of a Rego set */
};

#define POLICY_TEXT_INIT { .machines = BUF_INIT, .users = BUF_INIT }

/* For getopt_long(), and for a help text. */
enum { POLICY_UNTIL = 2000, POLICY_GRACE, POLICY_MACHINE, POLICY_USER };
#define POLICY_TEXT_OPTIONS \
	{ "until", required_argument, NULL, POLICY_UNTIL }, { "grace", required_argument, NULL, POLICY_GRACE }, \
	{ "machine", required_argument, NULL, POLICY_MACHINE }, { "user", required_argument, NULL, POLICY_USER }
#define POLICY_TEXT_HELP \
	"      --until DATE             may be opened until then: YYYY-MM-DD (all of that day in UTC), or RFC 3339 (2027-01-31T18:00:00+01:00)\n" \
	"      --grace DAYS             and for so many days more\n" \
	"      --machine ID             only on the machine with that /etc/machine-id; may be repeated\n" \
	"      --user UID               only by that user's processes; may be repeated\n" \
	"                               (all that are given must hold; they write the policy, so they don't go with --policy)\n"

/* YYYY-MM-DD: the first second after that day in UTC; or RFC 3339: the second that is named. false: neither. */
bool policy_text_date(const char *text, int64_t *until);

/* Takes an option: -1 to go on, else the status to leave with (what was wrong is said). *mine is false for options of others. */
int policy_text_option(struct policy_text *p, int opt, const char *arg, bool *mine);

/* After the last one: whether they go together. policy: what --policy has, or NULL. -1 or a status, as above. */
int policy_text_check(const struct policy_text *p, const char *policy);

/* Any was given. */
bool policy_text_given(const struct policy_text *p);

/* The text into malloc'ed memory, which the caller frees. -1: ENOMEM, EFBIG. */
int policy_text_make(const struct policy_text *p, struct str *text, struct err *err);

void policy_text_release(struct policy_text *p);

#endif
