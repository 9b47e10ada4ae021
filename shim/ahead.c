#include "ahead.h"

#include <stddef.h>
#include <sys/mman.h>

#define CROSSED_ENOUGH 3  /* borders of tensors, until a stream is led over the next */
#define HITS_ENOUGH 3     /* touches in order, until they are no coincidence */
#define RUN_ENOUGH (256u << 10) /* or bytes of them */
#define SLACK (16u << 10) /* bytes of small tensors before what stood there, on pages that they share with it */
#define FIRSTS_ENOUGH 3   /* tensors whose first bytes are touched in order */
#define LATE_MAX 8        /* touches behind a stream, until they are taken for a new pass */

static struct ahead_stream *oldest(struct ahead *a)
{
	struct ahead_stream *s = &a->streams[0];
	for (int i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *o = &a->streams[i];
		if (o->next == 0)
			return o;
		if (o->pos >= o->to && (s->pos < s->to || o->used < s->used))
			s = o;
	}
	return s;
}

/*
 * The stream that was expected here: at its end, or within what is being read ahead for it. *late: the touch is of what the stream has passed
 * (another thread, or the same touch again); many in a row are a new pass. Or else one that ended where what stood there before begins.
 */
static struct ahead_stream *expected(struct ahead *a, const struct ahead_touch *t, bool *late)
{
	*late = false;
	for (int i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *s = &a->streams[i];
		uint64_t far = s->to > s->next ? s->to : s->next;
		if (!s->next || t->page > far)
			continue;
		if (t->page_end >= s->next) {
			s->behind = 0;
			return s;
		}
		if (t->page + s->run + t->unit_end - t->page >= s->next && s->next - t->page < AHEAD_MAX && s->behind++ < LATE_MAX) {
			*late = true;
			return s;
		}
	}
	for (int i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *s = &a->streams[i];
		uint64_t far = s->to > s->next ? s->to : s->next;
		if (s->next && far < t->page && t->before <= far + SLACK)
			return s;
	}
	return NULL;
}

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool ahead_note(struct ahead *a, const struct ahead_touch *t)
{
	if (t->advice == MADV_RANDOM)
		return false;
	bool late;
	struct ahead_stream *s = expected(a, t, &late);
	if (late)
		return s->pos < s->to;
	uint64_t unit = t->unit_end - t->page;
	bool sequential = t->advice == MADV_SEQUENTIAL;
	if (!s) {
		s = oldest(a);
		*s = (struct ahead_stream){ .pos = t->ahead, .to = t->ahead };
	} else {
		if (t->unit_end > s->next)
			s->run += t->unit_end - s->next;
		if (s->tensor_end != t->tensor_end)
			s->crossed++;
		s->hits++;
		if (s->hits >= HITS_ENOUGH || s->run >= RUN_ENOUGH)
			s->distance = s->distance ? min(s->distance * 2, t->most) : min(unit, t->most);
	}
	s->used = ++a->clock;
	s->tensor_end = t->tensor_end;
	if (t->unit_end > s->next)
		s->next = t->unit_end;
	if (sequential)
		s->distance = min(AHEAD_MAX, t->most);
	uint64_t to = min(t->unit_end + s->distance, t->limit);
	if (to > t->tensor_end && !sequential) {
		uint64_t over = s->crossed >= CROSSED_ENOUGH ? s->run : 0;
		to = min(to, (t->unit_end > t->tensor_end ? t->unit_end : t->tensor_end) + over);
	}
	if (s->pos < t->ahead)
		s->pos = t->ahead;
	if (s->to < to)
		s->to = to;
	return s->pos < s->to;
}

bool ahead_first(struct ahead *a, uint32_t tensor, uint32_t most, uint32_t count)
{
	struct ahead_firsts *f = &a->firsts;
	if (f->row == 0 || tensor < f->next || tensor > (f->to > f->next ? f->to : f->next))
		*f = (struct ahead_firsts){ .pos = tensor + 1, .to = tensor + 1 };
	f->row++;
	f->next = tensor + 1;
	if (f->row < FIRSTS_ENOUGH)
		return false;
	f->distance = f->distance ? f->distance * 2 : FIRSTS_ENOUGH;
	if (f->distance > most)
		f->distance = most;
	uint32_t to = f->distance < count - f->next ? f->next + f->distance : count;
	if (f->pos < f->next)
		f->pos = f->next;
	if (f->to < to)
		f->to = to;
	return f->pos < f->to;
}

void ahead_want(struct ahead *a, uint64_t from, uint64_t to)
{
	struct ahead_stream *s = oldest(a);
	*s = (struct ahead_stream){ .next = to, .pos = from, .to = to, .used = ++a->clock };
}

struct ahead_stream *ahead_pending(struct ahead *a)
{
	for (int i = 0; i < AHEAD_STREAMS; i++)
		if (a->streams[i].pos < a->streams[i].to)
			return &a->streams[i];
	return NULL;
}

void ahead_cancel(struct ahead *a, uint64_t from, uint64_t to)
{
	for (int i = 0; i < AHEAD_STREAMS; i++) {
		struct ahead_stream *s = &a->streams[i];
		if (s->pos < s->to && s->to > from && s->pos < to)
			s->to = s->pos;
	}
	a->firsts.to = a->firsts.pos;
}
