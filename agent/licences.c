#include "licences.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent.h"
#include "jws.h"
#include "licence_clock.h"
#include "licence_lists.h"
#include "machine.h"
#include "text.h"

#define TICK_MS (INT64_C(3600) * 1000)
#define STATUS_MAX 100 /* licences in a reply of 64 KiB, in which names may be escaped to six times their length: */
#define STATUS_BYTES 49152u /* the last one begins before that */
#define DATE_MAX 32

struct entry {
	uint64_t set;
	struct licence *x; /* malloc'ed */
	int warned;        /* the last step of step_of() that was told; 0: none */
};

struct licences {
	size_t count;
	struct entry all[KEYSTORE_SETS_MAX];
	struct licence_clock clock;
	struct licence_lists lists;
	bool told_back;
	int64_t tick_ms;
};

struct licences *licences_new(void)
{
	struct licences *l = calloc(1, sizeof *l);

	if (l)
		l->clock = (struct licence_clock)LICENCE_CLOCK_INIT;
	return l;
}

void licences_drop(struct licence *x)
{
	if (x)
		licence_release(x);
	free(x);
}

void licences_free(struct licences *l)
{
	if (!l)
		return;
	while (l->count)
		licences_drop(l->all[--l->count].x);
	licence_lists_release(&l->lists);
	licence_clock_close(&l->clock);
	free(l);
}

bool licences_any(const struct agent *a)
{
	return a->licences->count > 0;
}

/* ---- clock and lists ---- */

int licences_configure(struct agent *a, const struct config *c, struct err *err)
{
	if (licence_lists_name(&a->licences->lists, c->revoked, c->revoked_count) < 0)
		return err_sys(err, ENOMEM, "the lists of revoked licences");
	return 0;
}

int licences_start(struct agent *a, struct err *err)
{
	struct licences *l = a->licences;

	if (licence_clock_open(&l->clock, a->config->clock, err) < 0) {
		agent_log(a, "licences: the latest time that was seen: %s", err->text);
		if (l->clock.bad && a->config->clock)
			return -1;
	}
	return licences_configure(a, a->config, err);
}

static void say_list(void *arg, const struct licence_lists_file *f)
{
	const char *shown = TEXT(f->path, strlen(f->path));

	if (f->why[0])
		agent_log(arg, "revoked %s: not taken: %s%s", shown, f->why, f->there ? "; the one before it stays" : "; no licence opens anything until it is there");
	else
		agent_log(arg, "revoked %s: list %llu, %zu licences", shown, (unsigned long long)f->list.seq, f->list.count);
}

/* The latest time at which this licence's publisher signed something that is here. Another's says nothing: a wrong clock of his is no harm to others. */
static int64_t seen_of(const struct licences *l, const struct licence *x)
{
	int64_t seen = licence_lists_seen(&l->lists, x->x);

	for (size_t i = 0; i < l->count; i++)
		if (memcmp(l->all[i].x->x, x->x, sizeof x->x) == 0 && l->all[i].x->issued > seen)
			seen = l->all[i].x->issued;
	return seen;
}

static int64_t now_for(struct licences *l, const struct licence *x)
{
	int64_t now = licence_clock_now(&l->clock), seen = seen_of(l, x);

	return seen > now ? seen : now;
}

static bool clock_is_back(const struct licences *l)
{
	int64_t seen = 0;

	for (size_t i = 0; i < l->count; i++)
		if (l->all[i].x->issued > seen)
			seen = l->all[i].x->issued;
	return licence_clock_is_back(&l->clock, seen);
}

/* ---- the table ---- */

static struct entry *entry_of(struct licences *l, uint64_t set)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->all[i].set == set)
			return &l->all[i];
	return NULL;
}

static void remove_entry(struct licences *l, struct entry *e)
{
	licences_drop(e->x);
	*e = l->all[--l->count];
}

/* Sets go without a word here: removed, expired. Their numbers never come again. */
static void prune(struct agent *a)
{
	struct licences *l = a->licences;

	for (size_t i = l->count; i-- > 0;)
		if (!keystore_has(a->keys, l->all[i].set))
			remove_entry(l, &l->all[i]);
}

static const char *date(char dst[DATE_MAX], int64_t t)
{
	time_t seconds = (time_t)t;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || !strftime(dst, DATE_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm))
		snprintf(dst, DATE_MAX, "?");
	return dst;
}

#define DATE(t) date((char[DATE_MAX]){ 0 }, (t))

struct licence *licences_take(struct agent *a, const char *text, size_t len, struct err *err)
{
	struct licences *l = a->licences;
	struct licence *x = calloc(1, sizeof *x);

	if (!x) {
		err_sys(err, ENOMEM, "a licence");
		return NULL;
	}
	if (licence_read(x, text, len, err) < 0) {
		free(x);
		return NULL;
	}
	prune(a);
	for (size_t i = 0; i < l->count; i++) {
		const struct licence *old = l->all[i].x;

		if (strcmp(old->id, x->id) == 0 && memcmp(old->x, x->x, sizeof x->x) == 0 && memcmp(old->to.point, x->to.point, sizeof x->to.point) == 0 &&
		    old->issued > x->issued) {
			err_set(err, ERR_REJECTED, "licence \"%s\" of %s is an old one: that of %s is here already", x->id, DATE(x->issued), DATE(old->issued));
			licences_drop(x);
			return NULL;
		}
	}
	return x;
}

int licences_put(struct agent *a, uint64_t set, struct licence *x, struct err *err)
{
	struct licences *l = a->licences;
	struct entry *e;

	if (x && !keystore_has_signer(a->keys, set, x->x))
		return err_set(err, ERR_REJECTED, "licence \"%s\" is not signed by a verification key of the set that it came with", x->id);
	prune(a);
	if ((e = entry_of(l, set)))
		remove_entry(l, e);
	if (!x)
		return 0;
	l->all[l->count++] = (struct entry){ .set = set, .x = x }; /* no more than there are sets */
	licence_lists_look(&l->lists, say_list, a);
	l->tick_ms = 0;
	return 0;
}

/* ---- warnings ---- */

/* How near the end is, in the steps that are told of: 0 is far. */
static int step_of(const struct licence *x, int64_t now)
{
	static const int days[] = { 30, 7, 1 };
	int step = 0;

	if (now >= licence_end(x))
		return 5;
	if (now >= x->until)
		return 4;
	while (step < 3 && x->until - now <= (int64_t)days[step] * LICENCE_DAY)
		step++;
	return step;
}

/* Whole days until the next thing happens: the day that is named, then the end of grace. */
static int64_t days_left(const struct licence *x, int64_t now)
{
	int64_t next = now < x->until ? x->until : licence_end(x);

	return next > now ? (next - now) / LICENCE_DAY : 0;
}

static void warn(struct agent *a, struct entry *e, int64_t now)
{
	static const char *const states[] = { "", "30 days", "7 days", "1 day", "grace", "over" };
	const struct licence *x = e->x;
	const char *what = x->what_count ? x->what[0] : "";
	int step = step_of(x, now);

	if (step <= e->warned) {
		e->warned = step; /* a renewal is another entry; this is a clock that was corrected */
		return;
	}
	e->warned = step;
	agent_log(a, "licence \"%s\" (set %llu): %s; until %s, days left: %lld; then nothing opens %s%s any more", x->id, (unsigned long long)e->set, states[step],
	          DATE(x->until - 1), (long long)days_left(x, now), what[0] ? TEXT(what, strlen(what)) : "its files", x->what_count > 1 ? " and others" : "");
	audit_licence(a->audit, x->id, e->set, states[step], DATE(x->until - 1), (uint64_t)days_left(x, now), what);
}

int64_t licences_tick(struct agent *a, int64_t now_boot_ms)
{
	struct licences *l = a->licences;

	if (!l->count)
		return -1;
	if (l->tick_ms > now_boot_ms)
		return l->tick_ms;
	prune(a);
	licence_lists_look(&l->lists, say_list, a);
	for (size_t i = 0; i < l->count; i++)
		warn(a, &l->all[i], now_for(l, l->all[i].x));
	if (clock_is_back(l) && !l->told_back)
		agent_log(a, "licences: the clock is more than a day behind what was seen before (%s): licences are judged by that", DATE(l->clock.mark));
	l->told_back = clock_is_back(l);
	l->tick_ms = now_boot_ms + TICK_MS;
	return l->tick_ms;
}

/* ---- the answer ---- */

static bool on_machine(const struct licence *x)
{
	char id[MACHINE_ID_LEN + 1];

	if (!x->machine_count)
		return true;
	if (!machine_id(id))
		return false;
	for (size_t i = 0; i < x->machine_count; i++)
		if (strcmp(x->machines[i], id) == 0)
			return true;
	return false;
}

static bool for_user(const struct licence *x, uid_t uid)
{
	for (size_t i = 0; i < x->user_count; i++)
		if (x->users[i] == uid)
			return true;
	return x->user_count == 0;
}

static const char *over(const struct licences *l, const struct licence *x, char *reason, size_t cap)
{
	int n = snprintf(reason, cap, "licence \"%s\" ended on %s", x->id, DATE(x->until - 1));

	if (x->grace)
		n += snprintf(reason + n, cap - (size_t)n, " (with %u days of grace on %s)", x->grace, DATE(licence_end(x) - 1));
	n += snprintf(reason + n, cap - (size_t)n, ": ask the publisher for a renewal, and ct add it");
	if (time(NULL) < licence_end(x))
		snprintf(reason + n, cap - (size_t)n, "; the clock says it has not, but %s was seen already%s", DATE(seen_of(l, x) > l->clock.mark ? seen_of(l, x) : l->clock.mark),
		         ": docs/LICENCES.md, Time");
	return "over";
}

static const char *judge(struct licences *l, const struct licence *x, const struct str *file_id, uid_t uid, int64_t now, char *reason, size_t cap)
{
	const struct licence_lists_file *list;

	if (!file_id) {
		snprintf(reason, cap, "licence \"%s\" does not open it: the file is under no licence", x->id);
		return "file";
	}
	if (file_id->len != strlen(x->id) || memcmp(file_id->p, x->id, file_id->len) != 0) {
		snprintf(reason, cap, "licence \"%s\" does not open it: the file is under licence \"%s\"", x->id, TEXT(file_id->p, file_id->len));
		return "file";
	}
	switch (licence_lists_ask(&l->lists, x, &list)) {
	case LICENCE_REVOKED:
		snprintf(reason, cap, "licence \"%s\" was revoked by its publisher", x->id);
		return "revoked";
	case LICENCE_UNKNOWN:
		snprintf(reason, cap, "licence \"%s\": the agent's configuration names a list of revoked licences that was never there or never sound (ct status)", x->id);
		return "unknown";
	default:
		break;
	}
	if (now >= licence_end(x))
		return over(l, x, reason, cap);
	if (!on_machine(x)) {
		snprintf(reason, cap, "licence \"%s\" is not for this machine", x->id);
		return "machine";
	}
	if (!for_user(x, uid)) {
		snprintf(reason, cap, "licence \"%s\" is not for uid %u", x->id, uid);
		return "user";
	}
	return NULL;
}

void licences_judge(struct agent *a, uint64_t set, const struct str *file_id, uid_t uid, struct licences_answer *answer)
{
	struct licences *l = a->licences;
	struct entry *e = entry_of(l, set);

	*answer = (struct licences_answer){ .says = "none" };
	if (!e)
		return;
	licence_lists_look(&l->lists, say_list, a);
	int64_t now = now_for(l, e->x);
	warn(a, e, now);
	const char *no = judge(l, e->x, file_id, uid, now, answer->reason, sizeof answer->reason);
	answer->no = no != NULL;
	answer->says = no ? no : now >= e->x->until ? "grace" : "good";
	if (!no)
		answer->left_s = licence_end(e->x) - now;
}

/* ---- status ---- */

static void put_text(struct buf *b, const char *name, const char *text)
{
	buf_put_name(b, name);
	text_json(b, text, strlen(text));
}

static void put_number(struct buf *b, const char *name, int64_t v)
{
	buf_put_name(b, name);
	buf_put_u64(b, v > 0 ? (uint64_t)v : 0);
}

static void put_licence(struct buf *b, struct licences *l, const struct entry *e)
{
	static const char *const states[] = { "running", "running", "running", "running", "grace", "over" };
	const struct licence_lists_file *list;
	const struct licence *x = e->x;
	int64_t now = now_for(l, x);
	enum licence_revoked revoked = licence_lists_ask(&l->lists, x, &list);

	buf_puts(b, "{\"set\":");
	buf_put_u64(b, e->set);
	put_text(b, "id", x->id);
	put_text(b, "name", x->name);
	put_text(b, "state", revoked == LICENCE_REVOKED ? "revoked" : revoked == LICENCE_UNKNOWN ? "unknown" : states[step_of(x, now)]);
	put_number(b, "until", x->until);
	put_number(b, "ends", licence_end(x));
	put_number(b, "days_left", days_left(x, now));
	put_text(b, "opens", x->what_count ? x->what[0] : "");
	put_number(b, "files", (int64_t)x->what_count);
	buf_putc(b, '}');
}

void licences_status(struct agent *a, struct buf *out)
{
	struct licences *l = a->licences;

	prune(a);
	licence_lists_look(&l->lists, say_list, a);
	buf_putc(out, '[');
	for (size_t i = 0; i < l->count && i < STATUS_MAX && out->len < STATUS_BYTES; i++) {
		if (i)
			buf_putc(out, ',');
		put_licence(out, l, &l->all[i]);
	}
	buf_putc(out, ']');
}

void licences_state(struct agent *a, struct buf *out)
{
	struct licences *l = a->licences;
	size_t bad = 0, none = 0;

	for (size_t i = 0; i < l->lists.count; i++) {
		bad += l->lists.files[i].why[0] != '\0';
		none += !l->lists.files[i].there;
	}
	buf_puts(out, "{\"now\":");
	buf_put_u64(out, (uint64_t)licence_clock_now(&l->clock));
	buf_puts(out, clock_is_back(l) ? ",\"clock_back\":true" : ",\"clock_back\":false");
	buf_puts(out, l->clock.bad || l->clock.fd < 0 ? ",\"clock_kept\":false" : ",\"clock_kept\":true");
	put_number(out, "lists", (int64_t)l->lists.count);
	put_number(out, "lists_not_taken", (int64_t)bad);
	put_number(out, "lists_never_there", (int64_t)none);
	buf_putc(out, '}');
}
