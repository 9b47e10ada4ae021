/* ahead: which touches are taken for reading in order, and how far that is followed. */
#include "ahead.h"

#include <sys/mman.h>

#include "check.h"

#define PAGE 4096u
#define UNIT (256u << 10)
#define TENSOR (8 * UNIT)
#define END (64 * (uint64_t)TENSOR)

/* A touch of the first page of the unit at `at`, what lies before it being there from `before` on. How much is wanted behind the unit afterwards. */
static uint64_t touch(struct ahead *a, uint64_t at, uint64_t before)
{
	struct ahead_touch t = { .page = at, .page_end = at + PAGE, .before = before, .unit_end = at + UNIT, .ahead = at + UNIT,
		                     .tensor_end = (at / TENSOR + 1) * TENSOR, .limit = END, .most = AHEAD_MAX, .advice = MADV_NORMAL };
	bool more = ahead_note(a, &t);
	uint64_t far = at + UNIT;
	for (int i = 0; i < AHEAD_STREAMS; i++)
		if (a->streams[i].pos < a->streams[i].to && a->streams[i].to > far)
			far = a->streams[i].to;
	CHECK(more == (far > at + UNIT));
	return far - (at + UNIT);
}

/* The pool's part: all that is wanted is taken. */
static void take(struct ahead *a)
{
	struct ahead_stream *s;
	while ((s = ahead_pending(a)))
		s->pos = s->to;
}

/*
 * Reads `tensors` tensors in order, of which the first unit of each was there before; touches come where reading ahead ended. Returns how many.
 */
static int read_through(struct ahead *a, int tensors, bool first_there)
{
	int touches = 0;
	uint64_t known = 0; /* up to here everything is there */
	for (uint64_t at = 0; at < (uint64_t)tensors * TENSOR; at += UNIT) {
		bool first = first_there && at % TENSOR == 0;
		if (at < known || first)
			continue;
		touches++;
		uint64_t wanted = touch(a, at, first_there && at % TENSOR == UNIT ? at - UNIT : at);
		known = at + UNIT + wanted;
		take(a);
	}
	return touches;
}

/* Touches the first bytes of tensors in turn, but of those that were filled before. Returns how many. */
static int touch_firsts(uint32_t count, uint32_t most)
{
	struct ahead a = { 0 };
	int touches = 0;
	uint32_t filled = 0; /* all before are */
	for (uint32_t t = 0; t < count; t++) {
		if (t < filled)
			continue;
		touches++;
		CHECK(ahead_first(&a, t, most, count) == (a.firsts.pos < a.firsts.to));
		CHECK(a.firsts.pos >= a.firsts.to || (a.firsts.pos == t + 1 && a.firsts.to <= t + 1 + most && a.firsts.to <= count));
		filled = a.firsts.to;
		a.firsts.pos = a.firsts.to;
	}
	return touches;
}

static void firsts(void)
{
	struct ahead a = { 0 }, b = { 0 };
	CHECK(touch_firsts(310, 32) < 20);
	CHECK(touch_firsts(310, 2) > 100);
	CHECK(touch_firsts(310, 0) == 310);
	/* two neighbours, then elsewhere; and back to what was passed: no row */
	for (uint32_t t = 0; t < 300; t += 5)
		CHECK(!ahead_first(&a, t, 32, 310) && !ahead_first(&a, t + 1, 32, 310));
	CHECK(!ahead_first(&b, 5, 32, 310) && !ahead_first(&b, 6, 32, 310) && ahead_first(&b, 7, 32, 310));
	CHECK(!ahead_first(&b, 5, 32, 310) && b.firsts.pos == b.firsts.to);
}

int main(void)
{
	struct ahead a = { 0 }, b = { 0 }, c = { 0 };
	firsts();
	/* 40 tensors of 8 units: a touch for each doubling, not some for each tensor; though all first units were there */
	int in_order = read_through(&a, 40, false), with_gaps = read_through(&b, 40, true);
	CHECK(in_order < 20);
	CHECK(with_gaps < 20);
	/* every third unit, nothing between them there: no order */
	for (uint64_t at = 0; at < TENSOR * 4; at += 3 * UNIT)
		CHECK(touch(&c, at, at) == 0);
	return check_status("shim_ahead");
}
