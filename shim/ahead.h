/*
 * ahead: reading ahead of touches that come in order.
 *
 * Each mapping follows a few streams of touches. A touch where a stream is expected to go on doubles how far is read ahead, up to the end of
 * the tensor: who reads a tenth of the tensors whole pays for no other. Only a stream that went on over several tensors is led
 * over the next border, by as much as it has read in order. What stood there before is no gap in the order: loaders touch the first byte of each tensor,
 * and read all of them afterwards. While they do that, the first bytes of the next tensors are filled before they are touched.
 * MADV_RANDOM: none; MADV_SEQUENTIAL: at once and over borders.
 *
 * The streams are under the ranges' lock; this module is the arithmetic alone and touches nothing else.
 */
#ifndef SHIM_AHEAD_H
#define SHIM_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#define AHEAD_STREAMS 8
#define AHEAD_MAX (64u << 20) /* bytes ahead of a touch, at most */

struct ahead_stream {
	uint64_t next;     /* byte of the file where the next touch is expected; 0: a free slot */
	uint64_t run;      /* bytes that were touched in order */
	uint64_t distance; /* bytes read ahead of the last touch */
	uint64_t pos, to;  /* what is still to be read ahead: [pos, to) */
	uint64_t tensor_end; /* of the last touch */
	uint32_t crossed;  /* borders of tensors that it went over */
	uint32_t used;     /* age */
	uint32_t hits;     /* touches where they were expected */
	uint32_t behind;   /* touches in a row behind `next` */
};

/* Tensors whose first byte is touched one after the other, by their numbers in the order of the file. */
struct ahead_firsts {
	uint32_t next;     /* the one that is expected */
	uint32_t row;      /* touches in order */
	uint32_t distance; /* tensors ahead of the last touch */
	uint32_t pos, to;  /* whose first bytes are still to be filled: [pos, to) */
};

struct ahead {
	struct ahead_stream streams[AHEAD_STREAMS];
	struct ahead_firsts firsts;
	uint32_t clock;
};

/* What a touch is, in bytes of the file. */
struct ahead_touch {
	uint64_t page, page_end;   /* the page that was touched */
	uint64_t before;           /* from here to page everything stood there already: nobody could see it being read */
	uint64_t unit_end;         /* what is put in place for it ends here */
	uint64_t ahead;            /* and what is decrypted for it, here */
	uint64_t tensor_end;       /* end of the tensor that holds the byte that was touched (the page's first, if that is all that is known) */
	uint64_t limit;            /* end of the mapping */
	uint64_t most;             /* bytes that may be read ahead at all */
	int advice;                /* MADV_* */
};

/* Notes a touch. true: there is something to read ahead now. */
bool ahead_note(struct ahead *a, const struct ahead_touch *t);

/* Notes that the first byte of a tensor was touched. most: tensors ahead of it at all; count: there are no more. true: see ahead_note(). */
bool ahead_first(struct ahead *a, uint32_t tensor, uint32_t most, uint32_t count);

/* Fills [from, to) at once, whatever is touched (MADV_WILLNEED, populate). */
void ahead_want(struct ahead *a, uint64_t from, uint64_t to);

/* The stream with work left, or NULL. The caller moves its pos. */
struct ahead_stream *ahead_pending(struct ahead *a);

/* The application gave [from, to) away: nothing of it is read ahead, and no tensor's first byte filled before somebody asks for the next. */
void ahead_cancel(struct ahead *a, uint64_t from, uint64_t to);

#endif
