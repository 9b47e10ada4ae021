/*
 * The front before a keeper that has been taken over, or has gone mad: what it says is bounded and checked, and ends the agent instead of it. No real keeper ever
 * says these; its code is replaced by a script.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "clock.h"
#include "keeper_inner.h"
#include "keystore.h"
#include "tokens.h"

static void (*script)(int sock);

_Noreturn void keeper_serve(int sock, const struct tokens *tokens, bool background)
{
	struct pollfd p = { sock, 0, 0 };

	(void)tokens;
	(void)background;
	script(sock);
	poll(&p, 1, 30000); /* until the front has gone */
	_exit(0);
}

static void say(int sock, struct keeper_head h, const void *body, size_t len)
{
	keeper_send(sock, &h, body, len, -1, 0);
}

#define SAY(body, len, ...) say(sock, (struct keeper_head){ __VA_ARGS__ }, body, len)

static struct keeper_public keys[KEEPER_PUBLIC_MAX];
static struct keeper_label label;
static struct hardening hardening;

static void ready(int sock)
{
	SAY(&hardening, sizeof hardening, .what = SAY_READY, .count = 1);
}

static void offer_sets(int sock, unsigned int n, unsigned int from, int step)
{
	for (unsigned int i = 0; i < n; i++) {
		SAY(keys, sizeof *keys, .what = SAY_KEYS, .count = 1);
		SAY(&label, sizeof label, .what = SAY_OFFER, .count = 1, .set = from + i * (unsigned int)step, .number = 1);
	}
	ready(sock);
}

/* ---- at the start ---- */

static void says_nothing(int sock) { shutdown(sock, SHUT_RDWR); }
static void says_bits(int sock) { send(sock, keys, 3, 0); }
static void says_unknown(int sock) { SAY(NULL, 0, .what = SAY_END); }
static void answers_nobody(int sock) { SAY(NULL, 0, .what = SAY_REMOVED); }
static void asks(int sock) { SAY(NULL, 0, .what = ASK_REMOVE); }
static void is_ready_without(int sock) { SAY(NULL, 0, .what = SAY_READY); }
static void refuses_without(int sock) { SAY(NULL, 0, .what = SAY_REFUSAL); }
static void offers_nothing(int sock) { SAY(NULL, 0, .what = SAY_OFFER, .set = 1, .number = 1); }
static void offers_257(int sock) { offer_sets(sock, 257, 1, 1); }
static void offers_twice(int sock) { offer_sets(sock, 2, 1, 0); }
static void offers_0(int sock) { offer_sets(sock, 1, 0, 1); }

static void offers_for_ever(int sock)
{
	for (int i = 0; i < 100; i++)
		SAY(keys, sizeof keys, .what = SAY_KEYS, .count = KEEPER_PUBLIC_MAX);
}

static void says_one(int sock, const struct keeper_public *k)
{
	SAY(k, sizeof *k, .what = SAY_KEYS, .count = 1);
	SAY(&label, sizeof label, .what = SAY_OFFER, .count = 1, .set = 1, .number = 1);
	ready(sock);
}

static void long_kid(int sock) { says_one(sock, &(struct keeper_public){ .has_kid = 1, .kid_len = JWK_KID_MAX + 1 }); }
static void odd_kind(int sock) { says_one(sock, &(struct keeper_public){ .kind = 2 }); }
static void odd_alg(int sock) { says_one(sock, &(struct keeper_public){ .alg = AEAD_ALGS }); }

static void endless_text(int sock)
{
	struct err e;

	memset(&e, 'x', sizeof e);
	SAY(&e, sizeof e, .what = SAY_REFUSAL, .count = 1);
}

static void starts_not(void (*s)(int), int code, const char *says)
{
	static const struct tokens none = { NULL, 0 };
	struct err why = { 0 };
	struct hardening h;
	struct keystore *ks;

	script = s;
	ks = keystore_start(&none, false, &h, &why);
	CHECK(!ks);
	CHECK_ERR(&why, (enum err_code)code, says);
	keystore_free(ks);
}

/* ---- later ---- */

static struct keeper *k;
static struct crypto_entry entries[KEEPER_BATCH];
static uint8_t out[KEEPER_BATCH * AEAD_KEY_MAX];

static struct keeper_head question;

/* The next question's head. */
static void hear(int sock)
{
	static struct keeper_message m;

	if (recv(sock, &m, sizeof m, 0) < (ssize_t)sizeof m.head)
		_exit(1);
	question = m.head;
}

static void begin(void (*s)(int))
{
	static const struct tokens none = { NULL, 0 };
	struct keeper_set set;
	struct hardening h;
	struct err why = { 0 };

	script = s;
	k = keeper_start(&none, false, &why);
	CHECK(k && keeper_token(k, &set, &h, &why) == 0);
}

static enum keeper_answer unwrap(size_t n, struct err *why)
{
	size_t which = 0;

	return keeper_unwrap(k, 1, 0, AEAD_AES256GCM, entries, n, out, clock_ms() + 30000, &which, why);
}

#define LATER(name, ...) \
	static void name(int sock) \
	{ \
		ready(sock); \
		hear(sock); \
		__VA_ARGS__; \
	}

LATER(too_few, SAY(keys, 63, .what = SAY_UNWRAPPED, .count = 63, .serial = question.serial))
LATER(too_many, SAY(keys, 65, .what = SAY_UNWRAPPED, .count = 65, .serial = question.serial))
LATER(wrong_place, SAY(NULL, 0, .what = SAY_WRONG, .number = 2, .serial = question.serial))
LATER(wrong_far, SAY(NULL, 0, .what = SAY_WRONG, .number = UINT64_MAX, .serial = question.serial))
LATER(removed, SAY(NULL, 0, .what = SAY_REMOVED, .serial = question.serial))
LATER(fails_without, SAY(NULL, 0, .what = SAY_FAILURE, .serial = question.serial))
LATER(answers_twice, SAY(NULL, 0, .what = SAY_GONE, .serial = 99); SAY(NULL, 0, .what = SAY_GONE, .serial = question.serial))
LATER(hangs_up, close(sock); _exit(0))

static void fails(int sock)
{
	struct err e;

	ready(sock);
	hear(sock);
	memset(&e, 'x', sizeof e);
	SAY(&e, sizeof e, .what = SAY_FAILURE, .count = 1, .serial = question.serial);
}

/* Every answer is from 1 on: what came before the late one counts for nothing, and what it brings is not taken for another's. */
static void is_late(int sock)
{
	uint64_t first;

	ready(sock);
	hear(sock);
	first = question.serial;
	hear(sock); /* a removal: the front does not wait any more */
	memset(keys, 1, 64);
	SAY(keys, 64, .what = SAY_UNWRAPPED, .count = 64, .serial = first);
	SAY(NULL, 0, .what = SAY_REMOVED, .serial = question.serial);
	hear(sock);
	memset(keys, 2, 64);
	SAY(keys, 64, .what = SAY_UNWRAPPED, .count = 64, .serial = question.serial);
}

static void late(void)
{
	struct err why = { 0 };
	enum keeper_answer a;
	size_t which;

	begin(is_late);
	CHECK(keeper_unwrap(k, 1, 0, AEAD_AES256GCM, entries, 2, out, clock_ms() + 50, &which, &why) == KEEPER_LATE);
	CHECK(unwrap(2, &why) == KEEPER_BUSY);
	CHECK(keeper_add(k, 0, 9, &why) == -2);
	keeper_remove(k, 7);
	for (int i = 0; (a = unwrap(2, &why)) == KEEPER_BUSY && i < 3000; i++)
		clock_pause(10);
	CHECK(a == KEEPER_OK);
	for (size_t i = 0; i < 64; i++)
		CHECK(out[i] == 2);
	CHECK(keeper_events(k) == 0);
	keeper_stop(k);
}

/* An offer that nobody asked for is passed over; one that does not fit its question's ends it. */
static void offers_to_nobody(int sock)
{
	ready(sock);
	hear(sock);
	SAY(keys, sizeof *keys, .what = SAY_KEYS, .count = 1, .serial = question.serial + 1);
	SAY(NULL, 0, .what = SAY_OFFER, .number = 1, .serial = question.serial + 1);
	SAY(keys, sizeof *keys, .what = SAY_KEYS, .count = 1, .serial = question.serial);
	SAY(NULL, 0, .what = SAY_OFFER, .number = 1, .set = 5, .serial = question.serial);
	SAY(NULL, 0, .what = SAY_OFFER, .number = 1, .set = 6, .serial = question.serial); /* and once more */
	hear(sock); /* that it is dropped */
	hear(sock);
	SAY(keys, sizeof *keys, .what = SAY_KEYS, .count = 1, .serial = question.serial);
	SAY(NULL, 0, .what = SAY_OFFER, .number = 2, .serial = question.serial);
}

/* As the server does: until there is a result. */
static int result(int place, struct keeper_set *s, struct err *why)
{
	struct pollfd p = { keeper_fd(k), POLLIN, 0 };
	int r;

	while ((r = keeper_offer(k, place, s, why)) == 0 && poll(&p, 1, 30000) == 1)
		keeper_events(k);
	return r;
}

static void adds(void)
{
	struct err why = { 0 };
	struct keeper_set s;
	int place;

	begin(offers_to_nobody);
	CHECK((place = keeper_add(k, 0, 9, &why)) >= 0 && result(place, &s, &why) == 1 && s.set == 5 && s.keys.count == 1);
	keeper_set_release(&s);
	keeper_drop(k, place);
	CHECK((place = keeper_add(k, 0, 9, &why)) >= 0 && result(place, &s, &why) == -1);
	CHECK_ERR(&why, ERR_SYSTEM, "has ended");
	CHECK(keeper_events(k) < 0 && keeper_add(k, 0, 9, &why) == -2);
	keeper_stop(k);
}

static void ends_later(void (*s)(int))
{
	struct err why = { 0 };

	begin(s);
	CHECK(unwrap(2, &why) == KEEPER_ENDED && keeper_events(k) < 0 && unwrap(2, &why) == KEEPER_ENDED);
	keeper_stop(k);
}

int main(void)
{
	static void (*const never[])(int) = { says_nothing, says_bits, says_unknown, answers_nobody, asks, is_ready_without, refuses_without,
		                              offers_nothing, offers_for_ever, long_kid, odd_kind, odd_alg };
	static void (*const no_set[])(int) = { offers_257, offers_twice, offers_0 };
	static void (*const later[])(int) = { too_few, too_many, wrong_place, wrong_far, removed, fails_without, answers_twice, hangs_up };
	struct err why = { 0 };

	for (size_t i = 0; i < sizeof never / sizeof *never; i++)
		starts_not(never[i], ERR_SYSTEM, "the process that keeps the keys has ended");
	for (size_t i = 0; i < sizeof no_set / sizeof *no_set; i++)
		starts_not(no_set[i], ERR_SYSTEM, "the process that keeps the keys");
	starts_not(endless_text, ERR_NOKEY, "xxx");
	for (size_t i = 0; i < sizeof later / sizeof *later; i++)
		ends_later(later[i]);
	begin(fails);
	CHECK(unwrap(2, &why) == KEEPER_ERROR && strlen(why.text) == sizeof why.text - 1);
	keeper_stop(k);
	late();
	adds();
	return check_status("agent_front");
}
