#include "policy_text.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "machine.h"
#include "publish.h"
#include "text.h"

#define DAY 86400
#define GRACE_MAX 36500u /* days */
#define YEAR_MIN 1970u

/* ---- dates ---- */

/* `digits` digits of a value in min … max. */
static bool field(const char **at, int digits, unsigned int min, unsigned int max, int *v)
{
	unsigned int n = 0;

	for (int i = 0; i < digits; i++, (*at)++) {
		if (**at < '0' || **at > '9')
			return false;
		n = n * 10 + (unsigned int)(**at - '0');
	}
	*v = (int)n;
	return n >= min && n <= max;
}

static bool mark(const char **at, char c)
{
	return *(*at)++ == c;
}

/* `Z` or `+HH:MM`, in seconds east of Greenwich. */
static bool zone(const char **at, int *east)
{
	int hours, minutes;
	char sign = *(*at)++;

	*east = 0;
	if (sign == 'Z')
		return true;
	if ((sign != '+' && sign != '-') || !field(at, 2, 0, 23, &hours) || !mark(at, ':') || !field(at, 2, 0, 59, &minutes))
		return false;
	*east = (hours * 3600 + minutes * 60) * (sign == '-' ? -1 : 1);
	return true;
}

bool policy_text_date(const char *text, int64_t *until)
{
	struct tm t = { 0 }, back;
	const char *at = text;
	time_t seconds;
	int east = 0;

	if (!field(&at, 4, YEAR_MIN, 9999, &t.tm_year) || !mark(&at, '-') || !field(&at, 2, 1, 12, &t.tm_mon) || !mark(&at, '-') ||
	    !field(&at, 2, 1, 31, &t.tm_mday))
		return false;
	t.tm_year -= 1900;
	t.tm_mon--;
	bool whole_day = *at == '\0';
	if (!whole_day && (!mark(&at, 'T') || !field(&at, 2, 0, 23, &t.tm_hour) || !mark(&at, ':') || !field(&at, 2, 0, 59, &t.tm_min) ||
	                   !mark(&at, ':') || !field(&at, 2, 0, 59, &t.tm_sec) || !zone(&at, &east) || *at))
		return false;
	struct tm as_given = t;
	seconds = timegm(&t);
	/* A day that the month does not have becomes one of the next. */
	if (!gmtime_r(&seconds, &back) || back.tm_mday != as_given.tm_mday || back.tm_mon != as_given.tm_mon)
		return false;
	*until = (int64_t)seconds + (whole_day ? DAY : 0) - east;
	return *until > 0;
}

static int64_t over(const struct policy_text *p)
{
	return p->until + (int64_t)p->grace * DAY;
}

/* ---- options ---- */

static int put_until(struct policy_text *p, const char *arg)
{
	if (p->has_until)
		return cli_usage("--until is there twice");
	if (!policy_text_date(arg, &p->until))
		return cli_usage("--until takes YYYY-MM-DD or RFC 3339 without parts of seconds, such as 2027-01-31T18:00:00Z, not %s", TEXT(arg, strlen(arg)));
	p->has_until = true;
	return -1;
}

static int put_machine(struct policy_text *p, const char *arg)
{
	if (strlen(arg) != MACHINE_ID_LEN || strspn(arg, "0123456789abcdef") != MACHINE_ID_LEN || strspn(arg, "0") == MACHINE_ID_LEN)
		return cli_usage("--machine takes what /etc/machine-id has, 32 digits of 0-9a-f, not %s", TEXT(arg, strlen(arg)));
	buf_puts(&p->machines, p->machines.len > 0 ? ", \"" : "\"");
	buf_puts(&p->machines, arg);
	buf_putc(&p->machines, '"');
	return -1;
}

static int put_user(struct policy_text *p, const char *arg)
{
	uint64_t uid;

	if (!cli_number(arg, 0, UINT32_MAX - 1, false, &uid))
		return cli_usage("--user takes a user's number (id -u), not %s", TEXT(arg, strlen(arg)));
	if (p->users.len > 0)
		buf_puts(&p->users, ", ");
	buf_put_u64(&p->users, uid);
	return -1;
}

int policy_text_option(struct policy_text *p, int opt, const char *arg, bool *mine)
{
	*mine = true;
	switch (opt) {
	case POLICY_UNTIL:
		return put_until(p, arg);
	case POLICY_GRACE:
		if (!cli_number(arg, 0, GRACE_MAX, false, &p->grace))
			return cli_usage("--grace takes days, at most %u", GRACE_MAX);
		p->has_grace = true;
		return -1;
	case POLICY_MACHINE:
		return put_machine(p, arg);
	case POLICY_USER:
		return put_user(p, arg);
	default:
		*mine = false;
		return -1;
	}
}

bool policy_text_given(const struct policy_text *p)
{
	return p->has_until || p->has_grace || p->machines.len > 0 || p->users.len > 0;
}

int policy_text_check(const struct policy_text *p, const char *policy)
{
	if (policy && policy_text_given(p))
		return cli_usage("--policy is a text of your own: --until, --grace, --machine and --user, which write one, don't go with it");
	if (p->has_grace && !p->has_until)
		return cli_usage("--grace goes with --until");
	if (p->has_until && over(p) <= time(NULL))
		cli_say("--until: that is over already; nobody will get keys for these files");
	return -1;
}

/* ---- the text ---- */

static void put_time(struct buf *b, const struct policy_text *p)
{
	char text[32];
	time_t end = over(p);
	struct tm t;

	gmtime_r(&end, &t);
	strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &t);
	buf_puts(b, "    # before ");
	buf_puts(b, text);
	if (p->grace > 0) {
		buf_puts(b, ", days of grace with it: ");
		buf_put_u64(b, p->grace);
	}
	buf_puts(b, "\n    input.time.seconds < ");
	buf_put_u64(b, (uint64_t)over(p));
	buf_putc(b, '\n');
}

static void put_set(struct buf *b, const char *what, const struct buf *members)
{
	buf_puts(b, "    ");
	buf_puts(b, what);
	buf_puts(b, " in {");
	buf_put(b, members->data, members->len);
	buf_puts(b, "}\n");
}

/* What is not there is undefined, and then the condition does not hold: no `not` in here. */
int policy_text_make(const struct policy_text *p, struct str *text, struct err *err)
{
	struct buf b = BUF_INIT;

	buf_puts(&b, "package model\n\nimport rego.v1\n\ndefault allow := false\n\nallow if {\n");
	if (p->has_until)
		put_time(&b, p);
	if (p->machines.len > 0)
		put_set(&b, "input.machine_id", &p->machines);
	if (p->users.len > 0)
		put_set(&b, "input.peer.uid", &p->users);
	buf_puts(&b, "}\n");
	if (b.failed || p->machines.failed || p->users.failed)
		err_sys(err, ENOMEM, "the policy");
	else if (b.len > PUBLISH_POLICY_MAX)
		cli_err(err, EFBIG, "a policy has at most %u bytes", PUBLISH_POLICY_MAX);
	else {
		*text = (struct str){ b.data, b.len };
		return 0;
	}
	buf_release(&b);
	return -1;
}

void policy_text_release(struct policy_text *p)
{
	buf_release(&p->machines);
	buf_release(&p->users);
}
