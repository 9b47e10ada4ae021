#include "engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "text.h"

#define ENGINE_ENDED "the process that starts the policy engine has ended"

/* ---- start ---- */

static int cut(struct engine *e, const char *spec, struct err *err)
{
	static const char scheme[] = "exec:";
	int n = 0;
	char *save = NULL;

	if (strncmp(spec, scheme, sizeof scheme - 1) != 0)
		return err_set(err, ERR_FORMAT, "a policy engine is named as exec:PROGRAM ARGS");
	e->command = strdup(spec + sizeof scheme - 1);
	if (!e->command)
		return err_sys(err, ENOMEM, "the policy engine");
	for (char *word = strtok_r(e->command, " \t", &save); word; word = strtok_r(NULL, " \t", &save)) {
		if (n == LAUNCHER_ARGS_MAX)
			return err_set(err, ERR_FORMAT, "the policy engine has more than %d arguments", LAUNCHER_ARGS_MAX - 1);
		e->argv[n++] = word;
	}
	e->argv[n] = NULL;
	if (n == 0 || e->argv[0][0] != '/')
		return err_set(err, ERR_FORMAT, "the policy engine needs an absolute path: exec:/PROGRAM ARGS");
	if (access(e->argv[0], X_OK) < 0)
		return err_sys(err, errno, "the policy engine %s", TEXT(e->argv[0], strlen(e->argv[0])));
	return 0;
}

int engine_start(struct engine *e, const char *spec, struct err *err)
{
	*e = (struct engine)ENGINE_NONE;
	if (cut(e, spec, err) == 0 && launcher_start(&e->launcher, e->argv, NULL, ENGINE_MS, err) == 0)
		return 0;
	engine_stop(e);
	return -1;
}

void engine_stop(struct engine *e)
{
	for (size_t i = 0; i < ENGINE_SLOTS; i++)
		if (e->slots[i].job && !e->slots[i].dropped)
			close(e->slots[i].verdict);
	launcher_stop(&e->launcher);
	free(e->command);
	*e = (struct engine)ENGINE_NONE;
}

bool engine_there(const struct engine *e)
{
	return e->command != NULL;
}

static bool ended(const struct engine *e)
{
	return e->launcher.sock < 0;
}

const char *engine_state(const struct engine *e)
{
	return !engine_there(e) ? "none" : ended(e) ? "ended" : "ready";
}

/* ---- questions ---- */

/* A sealed file in memory, open for reading from its beginning. */
static int text_file(const char *name, struct str text)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	size_t at = 0;

	while (fd >= 0 && at < text.len) {
		ssize_t n = write(fd, text.p + at, text.len - at);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	if (fd >= 0 && at == text.len && fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0 && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

/* -1: no more than `spare`. */
static int free_slot(struct engine *e, size_t spare)
{
	int slot = -1;
	size_t n = 0;

	for (int i = 0; i < ENGINE_SLOTS; i++) {
		struct engine_slot *s = &e->slots[i];
		if (s->dropped && clock_ms() >= s->lost_ms)
			*s = (struct engine_slot){ 0 };
		if (s->job)
			continue;
		n++;
		slot = i;
	}
	return n > spare ? slot : -1;
}

int engine_ask(struct engine *e, struct str policy, struct str input, size_t spare, struct err *err)
{
	int slot = free_slot(e, spare), pipes[2] = { -1, -1 }, fds[3] = { -1, -1, -1 }, ret = -2;

	if (ended(e)) {
		err_set(err, ERR_REJECTED, ENGINE_ENDED);
		return -2;
	}
	if (policy.len > ENGINE_POLICY_MAX) {
		err_set(err, ERR_REJECTED, "it is longer than %u bytes", ENGINE_POLICY_MAX);
		return -2;
	}
	if (slot < 0)
		return -1;
	if (pipe2(pipes, O_CLOEXEC) < 0) {
		err_sys(err, errno, "a pipe for the policy engine");
		goto out;
	}
	fds[0] = text_file("input", input);
	fds[1] = text_file("policy", policy);
	fds[2] = pipes[1];
	if (fds[0] < 0 || fds[1] < 0) {
		err_sys(err, errno, "memory for the policy engine");
		goto out;
	}
	if (launcher_run(&e->launcher, e->last_job + 1, NULL, fds, 3, err) < 0)
		goto out;
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	e->slots[slot] = (struct engine_slot){ .job = ++e->last_job, .verdict = pipes[0], .lost_ms = clock_ms() + ENGINE_LOST_MS };
	pipes[0] = -1;
	ret = slot;
out:
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (int i = 0; i < 2; i++)
		if (pipes[i] >= 0)
			close(pipes[i]);
	return ret;
}

static const char *const verdicts[] = { [ENGINE_TRUE] = "true", [ENGINE_FALSE] = "false", [ENGINE_UNDEFINED] = "undefined" };

const char *engine_verdict_name(enum engine_verdict v)
{
	return verdicts[v];
}

/* The run is over and nobody is left who could write: what is in the pipe is all there is. */
static int read_verdict(int fd, enum engine_verdict *v, struct err *err)
{
	char text[16];
	ssize_t n = read(fd, text, sizeof text);

	for (size_t i = 0; i < sizeof verdicts / sizeof verdicts[0]; i++) {
		if (n == (ssize_t)strlen(verdicts[i]) && memcmp(text, verdicts[i], (size_t)n) == 0) {
			*v = (enum engine_verdict)i;
			return 1;
		}
	}
	return err_set(err, ERR_REJECTED, n <= 0 ? "the policy engine gave no verdict" : "the policy engine gave something else than one verdict");
}

static void own_words(char words[ENGINE_WORDS_MAX], struct launcher_end *end)
{
	for (unsigned int i = 0; i < end->words_len; i++)
		if (end->words[i] == '"') /* they are shown in quotes, and cannot end them */
			end->words[i] = '\'';
	text_escape(words, ENGINE_WORDS_MAX, end->words, end->words_len);
}

int engine_answer(struct engine *e, int slot, enum engine_verdict *v, char words[ENGINE_WORDS_MAX], struct err *err)
{
	struct engine_slot *s = &e->slots[slot];
	int ret;

	if (!s->ended && !ended(e) && clock_ms() < s->lost_ms)
		return 0;
	own_words(words, &s->end);
	if (!s->ended && ended(e))
		ret = err_set(err, ERR_REJECTED, ENGINE_ENDED);
	else if (!s->ended || s->end.late)
		ret = err_set(err, ERR_REJECTED, "the policy engine gave no verdict within %d s", ENGINE_MS / 1000);
	else if (WIFSIGNALED(s->end.status))
		ret = err_set(err, ERR_REJECTED, "the policy engine was ended by signal %d", WTERMSIG(s->end.status));
	else if (s->end.status != 0)
		ret = err_set(err, ERR_REJECTED, "the policy engine failed with status %d%s", WEXITSTATUS(s->end.status),
		              words[0] ? "" : ": the policy is none that it understands, or it cannot run");
	else
		ret = read_verdict(s->verdict, v, err);
	close(s->verdict);
	*s = (struct engine_slot){ 0 };
	return ret;
}

void engine_drop(struct engine *e, int slot)
{
	struct engine_slot *s = &e->slots[slot];

	close(s->verdict);
	s->dropped = true;
	if (s->ended)
		*s = (struct engine_slot){ 0 };
}

int engine_events(struct engine *e)
{
	struct launcher_end end;
	int r;

	while ((r = launcher_ended(&e->launcher, &end)) > 0) {
		for (size_t i = 0; i < ENGINE_SLOTS; i++) {
			struct engine_slot *s = &e->slots[i];
			if (s->job != end.job || end.job == 0)
				continue;
			s->end = end;
			s->ended = true;
			if (s->dropped)
				*s = (struct engine_slot){ 0 };
		}
	}
	if (r < 0)
		launcher_stop(&e->launcher);
	return r;
}
