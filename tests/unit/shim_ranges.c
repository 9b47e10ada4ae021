/* ranges: a flight never begins on what was known of memory before it was changed; a change waits for flights; nothing is cut by halves. */
#include <errno.h>
#include <sys/mman.h>

#include "check.h"
#include "ranges.h"

#define BASE ((uintptr_t)1 << 40)

static struct view view;

static struct range range_at(struct mapping *m, uint64_t pages, uint64_t count)
{
	return (struct range){ .base = BASE + pages * ranges_page(), .len = count * ranges_page(), .at = pages * ranges_page(), .m = m, .prot = PROT_READ };
}

static void protect(uintptr_t from, size_t len, int prot)
{
	struct change c;
	ranges_change(&c, from, from + len);
	CHECK(ranges_set(from, from + len, RANGES_PROT, prot) == 0);
	ranges_change_end(&c);
}

/* Filled as if it could not be written, a page that can be may lose a store (uffd.c), and one that can't be read could be (segv.c). */
static void test_flights(struct mapping *m)
{
	struct range all = range_at(m, 0, 8), r;
	const size_t page = ranges_page();
	CHECK(ranges_add(&all) == 0);
	CHECK(ranges_find(BASE, &r));
	int flight = flight_begin(&r, BASE, 0, page);
	CHECK(flight >= 0);
	flight_end(flight);
	protect(BASE, page, PROT_READ | PROT_WRITE);
	CHECK(flight_begin(&r, BASE, 0, page) < 0);
	mapping_put(r.m);
	CHECK(ranges_find(BASE, &r) && r.prot == (PROT_READ | PROT_WRITE) && r.len == page);
	flight = flight_begin(&r, BASE, 0, page);
	CHECK(flight >= 0);
	CHECK(flight_begin(&r, BASE, 0, page) < 0);
	flight_end(flight);
	mapping_put(r.m);
	CHECK(ranges_cut(BASE, BASE + 8 * page) == 0);
	CHECK(!ranges_any());
}

/* With a full table: what cannot be said is refused before it happens. */
static void test_full(struct mapping *m)
{
	const size_t page = ranges_page();
	uint64_t at = 0;
	struct range r = range_at(m, 0, 4), piece;
	CHECK(ranges_add(&r) == 0);
	for (at = 4; r = range_at(m, at, 1), ranges_add(&r) == 0; at += 2)
		;
	CHECK(ranges_split(BASE + page, BASE + 2 * page) == -ENOMEM);
	CHECK(ranges_split(BASE, BASE + 4 * page) == 0);
	CHECK(ranges_cut(BASE, BASE + 4 * page) == 0);
	CHECK(!ranges_next(BASE, BASE + 4 * page, &piece));
	CHECK(ranges_cut(BASE, BASE + at * page) == 0);
	CHECK(!ranges_any());
}

int main(void)
{
	struct mapping *m = mapping_new(&view, -1, MAP_PRIVATE, 0, (uint64_t)1 << 40);
	CHECK(m && view.pins == 1);
	test_flights(m);
	test_full(m);
	mapping_put(m);
	CHECK(view.pins == 0);
	return check_status("shim_ranges");
}
