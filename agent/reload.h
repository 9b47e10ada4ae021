/*
 * reload: SIGHUP: the configuration is read again.
 *
 * All of it or nothing: where the new text has a fault, or names other tokens, the old one stays in force, and log and audit say why. Nothing is kept of the
 * old one: the server judges anew what it was about to judge.
 */
#ifndef CT_AGENT_RELOAD_H
#define CT_AGENT_RELOAD_H

#include <stdbool.h>

#include "config.h"
#include "err.h"
#include "errands.h"
#include "notify.h"

struct agent;

struct reload {
	struct config *running; /* agent.config */
	char *path;             /* absolute, malloc'ed; NULL: there is no file */
	int terminal;           /* whose hangup means the end; -1: none */
	struct errands *errands;
	const struct notify *notify;
};

/* path: as the user named it, NULL: none; made absolute by the working directory of now, links as they are. foreground: see reload_signals(). -1: ENOMEM, no folder. */
int reload_init(struct reload *r, struct config *running, const char *path, bool foreground, struct err *err);
void reload_release(struct reload *r);

enum reload_event { RELOAD_NOTHING, RELOAD_CHANGED, RELOAD_END };

/*
 * Takes the signals that have come to a signalfd. CHANGED: another configuration is in force, in the same place. END: a SIGTERM or SIGINT; a SIGHUP because the
 * terminal is gone on which the agent was started in the foreground (not if SIGHUP was ignored at its start, as nohup(1) has it).
 */
enum reload_event reload_signals(struct agent *a, int signals);

#endif
