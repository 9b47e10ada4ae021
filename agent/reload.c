#include "reload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "agent.h"

int reload_init(struct reload *r, struct config *running, const char *path, bool foreground, struct err *err)
{
	struct sigaction hup;
	char *here = NULL;

	*r = (struct reload){ .running = running, .terminal = -1 };
	if (path && path[0] == '/') {
		r->path = strdup(path);
	} else if (path) {
		here = getcwd(NULL, 0);
		if (!here || asprintf(&r->path, "%s/%s", here, path) < 0)
			r->path = NULL;
		free(here);
	}
	if (path && !r->path)
		return err_sys(err, errno, "the configuration's folder");
	if (foreground && sigaction(SIGHUP, NULL, &hup) == 0 && hup.sa_handler != SIG_IGN)
		r->terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	return 0;
}

void reload_release(struct reload *r)
{
	if (r->terminal >= 0)
		close(r->terminal);
	free(r->path);
}

static bool same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* The new configuration, if it may take the running one's place. */
static int read_new(const struct reload *r, const struct agent *a, struct config *fresh, struct err *err)
{
	if (config_read(fresh, r->path, err) || config_check(fresh, engine_there(a->engine), err))
		return -1;
	if (!tokens_same(&fresh->tokens, &r->running->tokens))
		return err_set(err, ERR_FORMAT, "token lines cannot change while the agent runs: start it anew");
	if (!same_text(fresh->clock, r->running->clock))
		return err_set(err, ERR_FORMAT, "the clock line cannot change while the agent runs: start it anew");
	return errands_admit(r->errands, fresh->allow_count > 0, err);
}

/* The tokens that are open stay with the lines that they were opened by. */
static void put_in_force(struct config *running, struct config *fresh)
{
	struct config old = *running;

	*running = *fresh;
	running->tokens = old.tokens;
	running->lifetime_s = old.lifetime_s;
	old.tokens = fresh->tokens;
	*fresh = old;
}

static enum reload_event reload(struct agent *a, const struct signalfd_siginfo *from)
{
	const struct reload *r = a->reload;
	struct config fresh;
	struct err why = { 0 };
	bool done;

	if (!r->path)
		return RELOAD_NOTHING;
	notify_reloading(r->notify);
	config_default(&fresh);
	done = read_new(r, a, &fresh, &why) == 0 && licences_configure(a, &fresh, &why) == 0;
	if (done)
		put_in_force(r->running, &fresh);
	config_release(&fresh);
	audit_reload(a->audit, (uid_t)from->ssi_uid, (pid_t)from->ssi_pid, done, why.text);
	agent_log(a, "reload: %s%s", done ? "done" : "the configuration of before stays in force: ", why.text);
	notify_ready(r->notify);
	return done ? RELOAD_CHANGED : RELOAD_NOTHING;
}

static bool terminal_gone(const struct reload *r)
{
	struct pollfd p = { r->terminal, 0, 0 };

	return r->terminal >= 0 && poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

enum reload_event reload_signals(struct agent *a, int signals)
{
	enum reload_event all = RELOAD_NOTHING;
	struct signalfd_siginfo one;

	while (all != RELOAD_END && read(signals, &one, sizeof one) == (ssize_t)sizeof one) {
		if (one.ssi_signo != SIGHUP || terminal_gone(a->reload))
			all = RELOAD_END;
		else if (reload(a, &one) == RELOAD_CHANGED)
			all = RELOAD_CHANGED;
	}
	return all;
}
