/*
 * keeper_serve() before a front that has been taken over: what it is told may end it, but neither crash it nor make it give away a byte of a master key. The
 * process that parses strangers' bytes is its only client, so nobody else would ever send it these.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "keeper_inner.h"
#include "tokens.h"

static const uint8_t KEK[32] = "a master key of 32 bytes, secret";
static const char JWKS[] = "{\"keys\":[{\"kty\":\"oct\",\"alg\":\"aes256gcm\",\"kid\":\"m\",\"k\":\"YSBtYXN0ZXIga2V5IG9mIDMyIGJ5dGVzLCBzZWNyZXQ=\"},"
			   "{\"kty\":\"okp\",\"alg\":\"ed25519\",\"kid\":\"s\",\"x\":\"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"}]}";

static int sock = -1;
static pid_t keeper;

static struct keeper_message in;
static size_t in_len;

/* The next message; false: it has ended. */
static bool hear(void)
{
	ssize_t n = recv(sock, &in, sizeof in, 0);

	memset((uint8_t *)&in + (n > 0 ? n : 0), 0, sizeof in - (size_t)(n > 0 ? n : 0));
	in_len = n > 0 ? (size_t)n : 0;
	CHECK(n <= 0 || keeper_fits(&in.head, in_len));
	for (size_t i = 0; i + 8 <= in_len; i++)
		CHECK(memcmp((uint8_t *)&in + i, KEK, 8) != 0);
	return n > 0;
}

static void begin(void)
{
	static const struct tokens none = { NULL, 0 };
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	keeper = fork();
	if (keeper == 0) {
		close(pair[0]);
		keeper_serve(pair[1], &none, false);
	}
	close(pair[1]);
	sock = pair[0];
	CHECK(hear() && in.head.what == SAY_READY);
}

/* It has ended by itself, or does when its socket closes; never by a signal or a sanitizer. */
static void end(bool by_itself)
{
	int status = -1;

	if (by_itself)
		while (hear())
			;
	close(sock);
	CHECK(waitpid(keeper, &status, 0) == keeper && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static bool tell(struct keeper_head h, const void *body, size_t len, int fd)
{
	return keeper_send(sock, &h, body, len, fd, 0);
}

#define TELL(...) CHECK(tell((struct keeper_head){ __VA_ARGS__ }, NULL, 0, -1))

/* An add of that text, from a socket: all of it is there, or its writer waits (*writer, unless NULL). */
static void add(uint64_t serial, const char *text, size_t len, int *writer)
{
	int pair[2];

	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	CHECK(send(pair[0], text, strlen(text), 0) == (ssize_t)strlen(text));
	CHECK(tell((struct keeper_head){ .what = ASK_ADD, .serial = serial, .number = len }, NULL, 0, pair[1]));
	close(pair[1]);
	if (writer)
		*writer = pair[0];
	else
		close(pair[0]);
}

static void offered(uint64_t serial, uint64_t same)
{
	CHECK(hear() && in.head.what == SAY_KEYS && in.head.count == 2 && in.head.serial == serial);
	CHECK(hear() && in.head.what == SAY_OFFER && in.head.number == 2 && in.head.set == same && in.head.serial == serial);
}

static void sealed(struct keeper_wrapped *w, size_t n)
{
	struct aead *a = aead_new(AEAD_AES256GCM);
	uint8_t dek[32];

	for (size_t i = 0; i < n; i++) {
		memset(dek, (int)(i + 1), sizeof dek);
		memset(w[i].iv, (int)i, sizeof w[i].iv);
		CHECK(aead_seal(a, KEK, w[i].iv, dek, w[i].key, sizeof dek, w[i].tag));
	}
	aead_free(a);
}

static enum keeper_what unwrap(uint64_t set, uint32_t key, uint32_t alg, const struct keeper_wrapped *w, uint32_t n)
{
	struct keeper_head h = { .what = ASK_UNWRAP, .count = n, .serial = 77, .set = set, .key = key, .alg = alg };

	CHECK(tell(h, w, n * sizeof *w, -1) && hear() && in.head.serial == 77);
	return in.head.what;
}

static void good_front(void)
{
	static struct keeper_wrapped w[KEEPER_BATCH];

	sealed(w, KEEPER_BATCH);
	begin();
	add(1, JWKS, strlen(JWKS), NULL);
	offered(1, 0);
	CHECK(unwrap(1, 0, AEAD_AES256GCM, w, 1) == SAY_GONE); /* not kept yet */
	TELL(.what = ASK_COMMIT, .serial = 1, .set = 1, .expires = -1);
	CHECK(unwrap(1, 0, AEAD_AES256GCM, w, KEEPER_BATCH) == SAY_UNWRAPPED && in.head.count == 32 * KEEPER_BATCH);
	for (size_t i = 0; i < 32 * KEEPER_BATCH; i++)
		CHECK(in.body[i] == (uint8_t)(i / 32 + 1));
	CHECK(unwrap(1, 0, AEAD_AES256GCM, w, 0) == SAY_UNWRAPPED && in.head.count == 0);
	w[9].tag[0] ^= 1;
	CHECK(unwrap(1, 0, AEAD_AES256GCM, w, 12) == SAY_WRONG && in.head.number == 9 && in_len == sizeof in.head);
	CHECK(unwrap(1, 0, AEAD_AES128GCM, w, 1) == SAY_UNFIT);
	CHECK(unwrap(1, 0, AEAD_ALGS, w, 1) == SAY_GONE);
	CHECK(unwrap(1, 1, AEAD_AES256GCM, w, 1) == SAY_GONE); /* a verification key */
	CHECK(unwrap(1, 2, AEAD_AES256GCM, w, 1) == SAY_GONE);
	CHECK(unwrap(1, UINT32_MAX, AEAD_AES256GCM, w, 1) == SAY_GONE);
	CHECK(unwrap(2, 0, AEAD_AES256GCM, w, 1) == SAY_GONE);

	/* the same again, from two at once: each is told of what was kept before it */
	add(2, JWKS, strlen(JWKS), NULL);
	add(3, JWKS, strlen(JWKS), NULL);
	offered(2, 1);
	TELL(.what = ASK_DROP, .serial = 2);
	offered(3, 1);
	TELL(.what = ASK_REMOVE, .serial = 4);
	CHECK(hear() && in.head.what == SAY_REMOVED && in.head.serial == 4);
	TELL(.what = ASK_COMMIT, .serial = 3, .set = 1, .expires = 1); /* has gone meanwhile: it is kept anew, and has expired */
	CHECK(unwrap(1, 0, AEAD_AES256GCM, w, 1) == SAY_GONE);
	TELL(.what = ASK_DROP, .serial = 99);

	/* the second is not offered before the first is kept, whatever else is asked meanwhile */
	add(5, JWKS, strlen(JWKS), NULL);
	offered(5, 0);
	add(6, JWKS, strlen(JWKS), NULL);
	for (int i = 0; i < 10; i++) {
		CHECK(unwrap(1, 0, AEAD_AES256GCM, w, 1) == SAY_GONE);
		clock_pause(5);
	}
	TELL(.what = ASK_COMMIT, .serial = 5, .set = 2, .expires = -1);
	offered(6, 2);
	end(false);
}

/* What is no JWK set, or no socket, is refused with a reason; and that carries nothing of the keeper's memory. */
static void refused(int code, int sys_errno)
{
	struct err *e = (struct err *)in.body;
	size_t len = strnlen(e->text, sizeof e->text);

	CHECK(hear() && in.head.what == SAY_REFUSAL);
	CHECK((int)e->code == code && e->sys_errno == sys_errno && (len = strnlen(e->text, sizeof e->text)) < sizeof e->text);
	for (; len < sizeof e->text; len++)
		CHECK(e->text[len] == 0);
}

static void bad_texts(void)
{
	int pipes[2], fd = open("/proc/self/exe", O_RDONLY), writers[KEEPER_ADDS_MAX];
	char byte;

	begin();
	CHECK(pipe(pipes) == 0 && fd >= 0 && write(pipes[1], "{", 1) == 1);
	for (int i = 0; i < 2; i++) { /* one that would block, one that would not */
		CHECK(tell((struct keeper_head){ .what = ASK_ADD, .serial = 1, .number = 9 }, NULL, 0, i ? pipes[0] : fd));
		refused(ERR_SYSTEM, ENOTSOCK);
	}
	add(2, "{\"keys\":[7]}", 12, NULL);
	refused(ERR_FORMAT, 0);
	add(3, JWKS, strlen(JWKS) - 1, NULL);
	refused(ERR_FORMAT, 0);
	add(4, JWKS, strlen(JWKS) + 1, NULL);
	refused(ERR_SYSTEM, ENODATA);
	for (int round = 0; round < 3; round++) /* places come back */
		for (uint64_t i = 0; i < KEEPER_ADDS_MAX; i++) {
			add(10 + i, "{", 2, &writers[i]);
			if (i + 1 < KEEPER_ADDS_MAX)
				continue;
			for (size_t k = 0; k < KEEPER_ADDS_MAX; k++) {
				TELL(.what = ASK_DROP, .serial = 10 + k);
				CHECK(recv(writers[k], &byte, 1, 0) == 0 || errno == ECONNRESET); /* nobody holds the other end any more */
				close(writers[k]);
			}
		}
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	end(false);
}

static void two_descriptors(uint32_t what)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { 0 };
	struct keeper_head h = { .what = what, .serial = 1, .number = 5 };
	struct iovec v = { &h, sizeof h };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };

	control.align = (struct cmsghdr){ CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(&control.align), (int[]){ 0, 0 }, 2 * sizeof(int));
	CHECK(sendmsg(sock, &m, 0) == sizeof h);
}

#define ENDS(...) \
	do { \
		begin(); \
		__VA_ARGS__; \
		end(true); \
	} while (0)

static void ends_it(void)
{
	static struct keeper_message big;
	const size_t head = sizeof big.head;
	const int one = open("/dev/null", O_RDWR);

	ENDS(CHECK(send(sock, &big, 1, 0) == 1));
	ENDS(CHECK(send(sock, &big, head - 1, 0) > 0));
	ENDS(TELL(.what = SAY_END));
	ENDS(TELL(.what = UINT32_MAX));
	for (uint32_t what = SAY_KEYS; what < SAY_END; what++)
		ENDS(TELL(.what = what));
	for (uint32_t what = ASK_ADD; what < ASK_UNWRAP; what++) /* nothing comes with these */
		ENDS(TELL(.what = what, .serial = 1, .set = 1, .count = 1));
	ENDS(TELL(.what = ASK_ADD, .serial = 1, .number = 5)); /* no descriptor */
	ENDS(CHECK(tell((struct keeper_head){ .what = ASK_ADD, .serial = 1 }, NULL, 0, one)));
	ENDS(CHECK(tell((struct keeper_head){ .what = ASK_ADD, .serial = 1, .number = JWK_FILE_MAX + 1 }, NULL, 0, one)));
	ENDS(CHECK(tell((struct keeper_head){ .what = ASK_ADD, .serial = 1, .number = UINT64_MAX }, NULL, 0, one)));
	ENDS(CHECK(tell((struct keeper_head){ .what = ASK_ADD, .number = 5 }, NULL, 0, one)));
	ENDS(CHECK(tell((struct keeper_head){ .what = ASK_DROP, .serial = 5 }, NULL, 0, one)));
	ENDS(CHECK(tell((struct keeper_head){ .what = ASK_ADD, .serial = 1, .number = 5, .count = 1 }, &big, 1, one)));
	ENDS(two_descriptors(ASK_ADD));
	ENDS(two_descriptors(ASK_REMOVE)); /* which would fill its table */
	ENDS(int w[2]; add(1, "{", 9, &w[0]); add(1, "{", 9, &w[1]); while (hear()); close(w[0]); close(w[1]));
	ENDS(int w[5]; for (uint64_t i = 0; i < 5; i++) add(1 + i, "{", 9, &w[i]); while (hear()); for (int i = 0; i < 5; i++) close(w[i]));
	ENDS(TELL(.what = ASK_COMMIT, .serial = 1, .set = 1));
	ENDS(int w; add(1, "{", 9, &w); TELL(.what = ASK_COMMIT, .serial = 1, .set = 1); while (hear()); close(w));
	ENDS(add(1, JWKS, strlen(JWKS), NULL); offered(1, 0); TELL(.what = ASK_COMMIT, .serial = 1, .set = 0));
	ENDS(add(1, JWKS, strlen(JWKS), NULL); offered(1, 0); TELL(.what = ASK_COMMIT, .serial = 1, .set = 1, .expires = -1);
	     add(2, "{\"kty\":\"oct\",\"k\":\"AAECAwQFBgcICQoLDA0ODw==\"}", 44, NULL); hear(); hear();
	     TELL(.what = ASK_COMMIT, .serial = 2, .set = 1, .expires = -1)); /* another set's number */
	big.head = (struct keeper_head){ .what = ASK_UNWRAP, .count = 2, .serial = 1 };
	ENDS(CHECK(send(sock, &big, head + 2 * sizeof(struct keeper_wrapped) - 1, 0) > 0));
	ENDS(CHECK(send(sock, &big, head + 2 * sizeof(struct keeper_wrapped) + 1, 0) > 0));
	big.head.count = UINT32_MAX;
	ENDS(CHECK(send(sock, &big, sizeof big, 0) > 0));
	big.head.count = KEEPER_BATCH + 1;
	ENDS(CHECK(send(sock, &big, sizeof big, 0) > 0));
	big.head.count = KEEPER_BATCH;
	ENDS(struct iovec v[2] = { { &big, sizeof big }, { &big, sizeof(struct keeper_wrapped) } };
	     struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 }; CHECK(sendmsg(sock, &m, 0) > 0)); /* longer than any */
	close(one);
}

/* One after another, until it has had enough. */
static void random_messages(void)
{
	static struct keeper_message m;
	unsigned int rounds = 400;
	static struct keeper_wrapped w[4];

	sealed(w, 4);
	srand(1);
	while (rounds-- > 0) {
		begin();
		add(1, JWKS, strlen(JWKS), NULL);
		offered(1, 0);
		TELL(.what = ASK_COMMIT, .serial = 1, .set = 1, .expires = -1);
		for (int i = 0; i < 20; i++) {
			size_t len = sizeof m.head;

			m.head = (struct keeper_head){ .what = (uint32_t)rand() % 5, .serial = (uint64_t)rand() % 4, .set = (uint64_t)rand() % 3,
				                       .number = (uint64_t)rand() % 70, .expires = rand() % 3 - 1, .key = (uint32_t)rand() % 3,
				                       .alg = (uint32_t)rand() % 4, .count = (uint32_t)rand() % 5 };
			if (m.head.what == ASK_UNWRAP) {
				memcpy(m.body, w, sizeof w);
				len += m.head.count * sizeof *w;
			} else if (rand() % 4) {
				m.head.count = 0;
			}
			if (rand() % 8 == 0)
				((uint8_t *)&m)[(size_t)rand() % sizeof m.head] ^= (uint8_t)(1 << rand() % 8);
			if (send(sock, &m, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
				break;
		}
		shutdown(sock, SHUT_WR);
		end(true);
	}
}

int main(void)
{
	good_front();
	bad_texts();
	ends_it();
	random_messages();
	return check_status("agent_keeper");
}
