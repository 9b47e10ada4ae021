#include "askpass.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "capture.h"
#include "cli.h"
#include "text.h"

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGALRM, SIGTSTP };

#define CAUGHT (sizeof caught / sizeof caught[0])

static volatile sig_atomic_t came; /* the signal that came while the echo was off */

static void on_signal(int sig)
{
	came = sig;
}

/* Takes the line's end off; what is left must be something. */
static int finish_line(struct secret *s, size_t len, struct err *err)
{
	if (len > 0 && s->data[len - 1] == '\n')
		len--;
	if (len > 0 && s->data[len - 1] == '\r')
		len--;
	if (len > ASKPASS_MAX)
		return cli_err(err, EINVAL, "a passphrase has at most %u bytes", ASKPASS_MAX);
	s->len = len;
	return len > 0 ? 0 : cli_err(err, EINVAL, "an empty passphrase");
}

/* Reads to the end of a line. awake: the signals that may interrupt it, or NULL: then none does. */
static int read_line(int fd, const sigset_t *awake, struct secret *s, struct err *err)
{
	size_t len = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = ppoll(&p, 1, NULL, awake);
		if (n >= 0)
			n = read(fd, s->data + len, 1);
		if (n < 0 && errno == EINTR) {
			if (awake && came)
				return cli_err(err, EINTR, "interrupted");
			continue;
		}
		if (n < 0)
			return err_sys(err, errno, "the passphrase cannot be read");
		if (n == 0 || s->data[len++] == '\n')
			return finish_line(s, len, err);
		if (len == s->len)
			return cli_err(err, EINVAL, "a passphrase has at most %u bytes", ASKPASS_MAX);
	}
}

/* One answer from the terminal. Signals are held but while it waits, so that none is lost between a look and the wait. */
static int ask_once(int tty, const char *prompt, struct secret *s, struct err *err)
{
	struct sigaction act = { .sa_handler = on_signal }, old[CAUGHT];
	struct termios echo, quiet;
	sigset_t held, saved, awake;

	/* Sets what is set: in the background this stops us, until somebody sits there. */
	if (tcgetattr(tty, &echo) < 0 || tcsetattr(tty, TCSADRAIN, &echo) < 0)
		return err_sys(err, errno, "the terminal");
	sigemptyset(&held);
	for (size_t i = 0; i < CAUGHT; i++)
		sigaddset(&held, caught[i]);
	sigprocmask(SIG_BLOCK, &held, &saved);
	awake = saved;
	came = 0;
	for (size_t i = 0; i < CAUGHT; i++) {
		sigaction(caught[i], NULL, &old[i]);
		if (old[i].sa_handler == SIG_IGN)
			continue; /* what the caller has ignored stays so */
		sigaction(caught[i], &act, NULL);
		sigdelset(&awake, caught[i]);
	}
	quiet = echo;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	quiet.c_lflag |= ECHONL | ICANON | ISIG;
	tcsetattr(tty, TCSAFLUSH, &quiet);
	dprintf(tty, "%s: ", prompt);
	int ret = read_line(tty, &awake, s, err);
	tcsetattr(tty, TCSAFLUSH, &echo);
	for (size_t i = 0; i < CAUGHT; i++)
		sigaction(caught[i], &old[i], NULL);
	if (came) {
		dprintf(tty, "\n");
		raise(came);
	}
	sigprocmask(SIG_SETMASK, &saved, NULL); /* here it comes */
	return ret;
}

static int ask_terminal(int tty, const char *prompt, struct secret *s, struct err *err)
{
	size_t room = s->len;
	int ret;

	do { /* once more after a stop */
		s->len = room;
		ret = ask_once(tty, prompt, s, err);
	} while (ret < 0 && came == SIGTSTP);
	return ret;
}

static int ask_program(const char *program, const char *prompt, struct secret *s, struct err *err)
{
	char *argv[] = { (char *)program, (char *)prompt, NULL };
	struct err why = { 0 };

	if (program[0] != '/')
		return cli_err(err, EINVAL, "CT_ASKPASS=%s is not an absolute path", TEXT(program, strlen(program)));
	if (capture_run(argv, s, 0, &why) < 0)
		return cli_err(err, err_errno(&why), "CT_ASKPASS: %s", why.text);
	uint8_t *end = memchr(s->data, '\n', s->len);
	return finish_line(s, end ? (size_t)(end - s->data) : s->len, err);
}

/* One answer; NULL: an error. */
static struct secret *answer(const char *program, int tty, const char *prompt, struct err *err)
{
	struct secret *s = secret_new(ASKPASS_MAX + 2); /* and the line's end */

	if (!s) {
		err_sys(err, ENOMEM, "the passphrase");
		return NULL;
	}
	if ((program ? ask_program(program, prompt, s, err) : ask_terminal(tty, prompt, s, err)) == 0)
		return s;
	secret_free(s);
	return NULL;
}

struct secret *askpass(const char *prompt, bool twice, struct err *err)
{
	const char *program = getenv("CT_ASKPASS"), *require = getenv("CT_ASKPASS_REQUIRE");
	struct secret *s = NULL, *again = NULL;
	int tty = -1;

	if (program && !program[0])
		program = NULL;
	if (!program || !require || strcmp(require, "force") != 0) {
		tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
		if (tty >= 0)
			program = NULL;
	}
	if (!program && tty < 0) {
		err_set(err, ERR_NOKEY, "a passphrase is needed, and there is no terminal to ask on: set CT_ASKPASS to a program that prints it");
		return NULL;
	}
	s = answer(program, tty, prompt, err);
	if (s && twice) {
		again = answer(program, tty, "The same again", err);
		if (again && !secret_equal(s, again))
			cli_err(err, EINVAL, "the two passphrases differ");
		if (!again || !secret_equal(s, again)) {
			secret_free(s);
			s = NULL;
		}
	}
	secret_free(again);
	if (tty >= 0)
		close(tty);
	return s;
}

struct secret *askpass_stdin(struct err *err)
{
	struct secret *s = secret_new(ASKPASS_MAX + 2);

	if (!s)
		err_sys(err, ENOMEM, "the passphrase");
	else if (read_line(STDIN_FILENO, NULL, s, err) == 0)
		return s;
	secret_free(s);
	return NULL;
}
