/*
 * agent: what the modules of ct-agent share: one agent's state and its log.
 *
 * ct-agent is one thread: nothing here is locked, nothing blocks but the poll in server.c and, for a limited time, a question to the keeper. Layers: main → server →
 * request → decision → rules → keystore, peer → keeper → lib.
 */
#ifndef CT_AGENT_H
#define CT_AGENT_H

#include <stdbool.h>
#include <stdint.h>

#include "audit.h"
#include "config.h"
#include "confirm.h"
#include "constraints.h"
#include "engine.h"
#include "harden.h"
#include "keystore.h"
#include "licences.h"
#include "passphrase.h"
#include "reload.h"

struct agent {
	const struct config *config; /* its contents change by reload_signals() alone */
	struct reload *reload;
	struct keystore *keys;
	struct constraints_table constraints;
	struct licences *licences;
	struct audit *audit;
	struct engine *engine; /* engine_there() says whether there is one */
	struct engine *remote; /* who judges remote policies; none: nobody */
	bool refuse_remote;    /* by --remote; or config->refuse_remote */
	struct confirm *confirm;
	struct hardening hardening;
	struct passphrase lock; /* set: locked */
	int64_t started_ms;     /* clock_boot_ms() */
	int64_t unlock_at_ms;   /* clock_boot_ms(): no try before, because the last passphrase was wrong */
	struct {
		uint64_t served, ciphertext, refused, failed;
	} opens;
	bool log; /* to stderr (-f) */
};

/* One line to stderr, if a->log. Strings from outside come escaped (text.h). */
void agent_log(const struct agent *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
