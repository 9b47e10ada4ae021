/*
 * lazy_vma FILE REFERENCE: mprotect, mremap, munmap, MAP_FIXED, mlock, mincore, msync on mappings of FILE; odd offsets and lengths; stores.
 * Each is done to fresh mappings and to ones that were read before.
 */
#include <sys/syscall.h>

#include "probe.h"

enum { PRIVATE, SHARED, WRITABLE, KINDS };
static const char *const kind_names[] = { "private", "shared", "writable" };

static int kind, filled; /* of the round that runs */
static size_t P, len;	 /* page; bytes of the file in whole pages */

static unsigned char *view(size_t off, size_t n)
{
	unsigned char *p = map_part(PROT_READ | (kind == WRITABLE ? PROT_WRITE : 0), kind == SHARED ? MAP_SHARED : MAP_PRIVATE, off, n);
	if (filled)
		verdict(p, off, off + n > probe_len ? probe_len - off : n);
	return p;
}

static unsigned char *whole(void)
{
	return view(0, probe_len);
}

__attribute__((format(printf, 2, 3))) static void say(const char *name, const char *format, ...)
{
	char text[400], full[80];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	snprintf(full, sizeof full, "%s.%s.%s", name, kind_names[kind], filled ? "filled" : "fresh");
	line(full, "%s", text);
}

static const char *ok(int r)
{
	return r == 0 ? "ok" : err_name(errno);
}

static const char *all(unsigned char *p)
{
	return verdict(p, 0, probe_len);
}

/* Two verdicts in one text. */
static const char *both(const unsigned char *p, size_t from, size_t n, const unsigned char *q, size_t from2, size_t n2)
{
	static char text[200];
	char first[80];
	strcpy(first, verdict(p, from, n));
	snprintf(text, sizeof text, "%s, %s", first, verdict(q, from2, n2));
	return text;
}

/* Unmaps a mapping with a hole, in which something else may lie by now. */
static void drop(unsigned char *p, size_t n, size_t hole, size_t hole_len)
{
	munmap(p, hole);
	munmap(p + hole + hole_len, n - hole - hole_len);
}

/* Nothing of the file is at p any more, where its page at off was. (Something else may be: a library's own memory.) */
static const char *gone(const unsigned char *p, size_t off)
{
	const char *says = verdict(p, off, P);
	return strncmp(says, "SIGSEGV", 7) == 0 || strncmp(says, "wrong", 5) == 0 ? "gone" : says;
}

/* Memory of no meaning, to be mapped over. */
static unsigned char *room(size_t n)
{
	return mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/* ---- mprotect ---- */

static void protections(void)
{
	unsigned char *p = whole();
	int r = mprotect(p + 3 * P, 5 * P, PROT_NONE);
	say("mprotect-none", "%s, %s inside, %s beside", ok(r), sig_name(touch(p + 4 * P, 0)), sig_name(touch(p + 8 * P, 0)));
	r = mprotect(p + 3 * P, 5 * P, PROT_READ);
	say("mprotect-back", "%s, %s", ok(r), all(p));
	r = mprotect(p, len, PROT_NONE);
	say("mprotect-all-none", "%s, %s", ok(r), sig_name(touch(p + len / 2, 0)));
	r = mprotect(p, len, PROT_READ);
	say("mprotect-all-back", "%s, %s", ok(r), all(p));
	munmap(p, len);

	p = whole();
	r = mprotect(p + 10 * P, 20 * P, PROT_READ | PROT_WRITE);
	say("mprotect-write", "%s", ok(r));
	if (r == 0) {
		int stored = touch(p + 15 * P + 9, 1), beside = touch(p + 40 * P, 1);
		const char *kept = p[15 * P + 9] == 0x5a ? "kept" : "lost";
		if (kind == WRITABLE)
			p[40 * P] = probe_want[40 * P];
		r = mprotect(p + 10 * P, 20 * P, PROT_READ);
		say("mprotect-stored", "%s %s, beside %s, %s, store then %s", sig_name(stored), kept, sig_name(beside), ok(r),
		    sig_name(touch(p + 15 * P + 9, 1)));
		say("mprotect-around", "%s", both(p, 0, 15 * P + 9, p + 15 * P + 10, 15 * P + 10, probe_len - 15 * P - 10));
	}
	r = mprotect(p, len, PROT_READ | PROT_EXEC);
	say("mprotect-exec", "%s", ok(r));
	r = mprotect(p + 1, P, PROT_READ);
	say("mprotect-unaligned", "%s", ok(r));
	munmap(p + 50 * P, P);
	r = mprotect(p + 48 * P, 5 * P, PROT_READ);
	say("mprotect-over-a-hole", "%s, %s", ok(r), verdict(p + 51 * P, 51 * P, probe_len - 51 * P));
	drop(p, len, 50 * P, P);

	p = mmap(NULL, probe_len, PROT_NONE, kind == SHARED ? MAP_SHARED : MAP_PRIVATE, probe_fd, 0);
	say("mapped-none", "%s", sig_name(touch(p + 5 * P, 0)));
	r = mprotect(p, len, PROT_READ);
	say("mapped-none-then-read", "%s, %s", ok(r), all(p));
	munmap(p, len);

	/* across two mappings that lie side by side */
	p = room(2 * len);
	unsigned char *q = mmap(p, len, PROT_READ, MAP_PRIVATE | MAP_FIXED, probe_fd, 0);
	q = q == p ? mmap(p + len, len, PROT_READ, MAP_PRIVATE | MAP_FIXED, probe_fd, 0) : q;
	r = mprotect(p + len - 5 * P, 10 * P, PROT_NONE);
	say("mprotect-two-mappings", "%s, %s, %s", ok(r), sig_name(touch(p + len - P, 0)), sig_name(touch(p + len, 0)));
	r = mprotect(p + len - 5 * P, 10 * P, PROT_READ);
	say("mprotect-two-mappings", "%s, %s", ok(r), both(p, 0, probe_len, p + len, 0, probe_len));
	r = munmap(p + len - 5 * P, 10 * P);
	say("munmap-two-mappings", "%s, %s", ok(r), both(p, 0, len - 5 * P, p + len + 5 * P, 5 * P, probe_len - 5 * P));
	drop(p, 2 * len, len - 5 * P, 10 * P);
}

/* ---- mremap ---- */

static const char *moved_to(void *r)
{
	return r == MAP_FAILED ? err_name(errno) : "ok";
}

static void remaps(void)
{
	size_t half = len / 2 / P * P;
	unsigned char *p = view(0, half), *q, *r;
	size_t at = kind == WRITABLE ? 3 * P + 5 : probe_len; /* written before the move */
	if (kind == WRITABLE)
		p[at] = (unsigned char)~probe_want[at];
	q = mremap(p, half, len, MREMAP_MAYMOVE);
	say("mremap-grow", "%s", moved_to(q));
	if (q == MAP_FAILED) {
		q = p;
		say("mremap-grow", "as before: %s", verdict(q + 4 * P, 4 * P, half - 4 * P));
		munmap(q, half);
	} else {
		if (kind == WRITABLE) {
			say("mremap-grow-kept", "%s", q[at] == (unsigned char)~probe_want[at] ? "kept" : "lost");
			q[at] = probe_want[at];
		}
		say("mremap-grown", "%s", all(q));
		munmap(q, len);
	}

	r = room(len);
	p = mmap(r, half, PROT_READ, (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, probe_fd, 0);
	munmap(r + half, len - half);
	q = mremap(p, half, len, 0);
	say("mremap-grow-in-place", "%s, %s", moved_to(q), verdict(p, 0, q == MAP_FAILED ? half : probe_len));
	munmap(p, q == MAP_FAILED ? half : len);

	p = whole();
	q = mremap(p, len, half, 0);
	say("mremap-shrink", "%s, %s, behind it %s", q == p ? "ok" : moved_to(q), verdict(p, 0, half), gone(p + half, half));
	munmap(p, q == p ? half : len);

	p = whole();
	r = room(len + 3 * P);
	q = mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, r + P);
	say("mremap-fixed", "%s, where it was %s", moved_to(q), gone(p + 5 * P, 5 * P));
	say("mremap-fixed", "%s", all(q == MAP_FAILED ? p : q));
	if (q == MAP_FAILED)
		munmap(p, len);
	munmap(r, len + 3 * P);

	p = whole(); /* a part from the middle, which then lies alone */
	r = room(len);
	q = mremap(p + 20 * P, 30 * P, 30 * P, MREMAP_MAYMOVE | MREMAP_FIXED, r + 7 * P);
	say("mremap-part", "%s", moved_to(q));
	if (q != MAP_FAILED)
		say("mremap-part", "moved %s, hole %s, %s", verdict(q, 20 * P, 30 * P), gone(p + 30 * P, 30 * P),
		    both(p, 0, 20 * P, p + 50 * P, 50 * P, probe_len - 50 * P));
	drop(p, len, 20 * P, q == MAP_FAILED ? 0 : 30 * P);
	munmap(r, len);

	p = whole();
	q = mremap(p, 0, len, MREMAP_MAYMOVE);
	say("mremap-old-size-0", "%s", moved_to(q));
	if (q != MAP_FAILED) {
		say("mremap-old-size-0", "both: %s", both(p, 0, probe_len, q, 0, probe_len));
		munmap(p, len);
		say("mremap-old-size-0", "the second alone: %s", all(q));
		munmap(q, len);
	} else {
		munmap(p, len);
	}
#ifdef MREMAP_DONTUNMAP
	p = whole();
	q = mremap(p, len, len, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
	say("mremap-dontunmap", "%s", moved_to(q));
	say("mremap-dontunmap", "%s", both(p, 0, probe_len, q == MAP_FAILED ? p : q, 0, probe_len));
	munmap(p, len);
	if (q != MAP_FAILED)
		munmap(q, len);
#endif
	p = whole();
	q = mremap(p + 1, P, P, MREMAP_MAYMOVE);
	say("mremap-unaligned", "%s", moved_to(q));
	q = mremap(p, len, 0, MREMAP_MAYMOVE);
	say("mremap-new-size-0", "%s", moved_to(q));
	munmap(p + 40 * P, P);
	q = mremap(p, len, 2 * len, MREMAP_MAYMOVE);
	say("mremap-over-a-hole", "%s, %s", moved_to(q), both(p, 0, 40 * P, p + 41 * P, 41 * P, probe_len - 41 * P));
	drop(p, len, 40 * P, P);
}

/* ---- munmap, MAP_FIXED ---- */

static void holes(void)
{
	unsigned char *p = whole();
	munmap(p, 5 * P);
	say("munmap-head", "%s, %s", gone(p + P, P), verdict(p + 5 * P, 5 * P, probe_len - 5 * P));
	munmap(p + len - 4 * P, 4 * P);
	say("munmap-tail", "%s, %s", gone(p + len - P, len - P), verdict(p + 5 * P, 5 * P, len - 9 * P));
	munmap(p + 100 * P, 9 * P);
	say("munmap-middle", "%s, %s", gone(p + 104 * P, 104 * P), both(p + 5 * P, 5 * P, 95 * P, p + 109 * P, 109 * P, len - 113 * P));
	drop(p + 5 * P, len - 9 * P, 95 * P, 9 * P);
	say("munmap-rest", "%s", gone(p + 50 * P, 50 * P));

	p = whole();
	for (size_t i = 0; i < 120; i += 2)
		munmap(p + i * P, P);
	int bad = 0;
	for (size_t i = 0; i < 120; i++)
		bad += i % 2 ? strcmp(verdict(p + i * P, i * P, P), "right") != 0 : strcmp(gone(p + i * P, i * P), "gone") != 0;
	say("munmap-every-other", "%d bad, %s", bad, verdict(p + 120 * P, 120 * P, probe_len - 120 * P));
	for (size_t i = 1; i < 120; i += 2)
		munmap(p + i * P, P);
	munmap(p + 120 * P, len - 120 * P);

	p = whole();
	unsigned char *q = mmap(p + 30 * P, 12 * P, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	int zeros = q[0] == 0 && q[12 * P - 1] == 0;
	memset(q, 7, 12 * P);
	say("anonymous-over-it", "%s, %s", zeros ? "zeros" : "not zeros", both(p, 0, 30 * P, p + 42 * P, 42 * P, probe_len - 42 * P));
	q = mmap(p + 36 * P, 12 * P, PROT_READ, MAP_PRIVATE | MAP_FIXED, probe_fd, (off_t)(3 * P)); /* over that and over the first */
	say("view-over-both", "%s, %s", moved_to(q), both(p + 36 * P, 3 * P, 12 * P, p + 48 * P, 48 * P, probe_len - 48 * P));
	say("anonymous-stays", "%s", p[30 * P] == 7 && p[36 * P - 1] == 7 ? "yes" : "no");
	munmap(p, len);

	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	unsigned char elf[4];
	p = whole();
	q = mmap(p + 5 * P, P, PROT_READ, MAP_PRIVATE | MAP_FIXED, self, 0);
	memcpy(elf, q, 4);
	say("file-over-it", "%s, %s", memcmp(elf, "\177ELF", 4) == 0 ? "that file" : "something else",
	    both(p, 0, 5 * P, p + 6 * P, 6 * P, probe_len - 6 * P));
	close(self);
	munmap(p, len);

	unsigned char *r = room(len + 2 * P);
	mprotect(r, P, PROT_READ | PROT_WRITE);
	memset(r, 9, P);
	q = mmap(r + P, probe_len, PROT_READ, (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, probe_fd, 0);
	say("view-over-anonymous", "%s, %s, %s before it", q == r + P ? "there" : moved_to(q), all(q), r[P - 1] == 9 ? "untouched" : "changed");
	munmap(r, len + 2 * P);

	p = whole();
	q = mmap(p + P, 3 * P, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, probe_fd, 0);
	say("noreplace-taken", "%s, %s", moved_to(q), all(p));
	munmap(p, len);
	q = mmap(p, probe_len, PROT_READ, MAP_PRIVATE | MAP_FIXED_NOREPLACE, probe_fd, 0);
	say("noreplace-free", "%s, %s", q == p ? "there" : "elsewhere", all(q));
	munmap(q, len);
#ifdef MAP_32BIT
	q = mmap(NULL, probe_len, PROT_READ, MAP_PRIVATE | MAP_32BIT, probe_fd, 0);
	say("32bit", "%s, %s", (uintptr_t)q + len <= 1ul << 31 ? "low" : "high", all(q));
	munmap(q, len);
#endif
}

/* ---- mlock, mincore, msync ---- */

static void locks(void)
{
	unsigned char *p = whole();
	int r = mlock(p + 5 * P + 3, 8 * P);
	say("mlock", "%s, %s", ok(r), verdict(p, 0, 40 * P));
	r = munlock(p + 5 * P, 8 * P);
	say("munlock", "%s, %s", ok(r), verdict(p, 0, 60 * P));
	r = mlock2(p + 70 * P, 8 * P, MLOCK_ONFAULT);
	say("mlock2-onfault", "%s, %s", ok(r), verdict(p + 60 * P, 60 * P, 40 * P));
	r = mlock2(p + 71 * P, P, 12345);
	say("mlock2-wrong-flag", "%s", ok(r));
	munmap(p + 100 * P, P);
	r = mlock(p + 98 * P, 5 * P);
	say("mlock-over-a-hole", "%s, %s", ok(r), both(p, 0, 100 * P, p + 101 * P, 101 * P, probe_len - 101 * P));
	drop(p, len, 100 * P, P);
	p = mmap(NULL, 10 * P, PROT_READ, (kind == SHARED ? MAP_SHARED : MAP_PRIVATE) | MAP_LOCKED, probe_fd, (off_t)(9 * P));
	say("map-locked", "%s, %s", moved_to(p), p == MAP_FAILED ? "" : verdict(p, 9 * P, 10 * P));
	munmap(p, 10 * P);

	p = whole();
	r = mlockall(MCL_CURRENT);
	say("mlockall-current", "%s, %s", ok(r), all(p));
	munlockall();
	r = mlockall(MCL_CURRENT | MCL_FUTURE);
	say("mlockall-future", "%s, %s", ok(r), all(p));
	if (r == 0) {
		unsigned char *q = whole();
		say("mapped-while-future", "%s", all(q));
		munmap(q, len);
	}
	munlockall();
	r = mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
	if (r == 0) {
		unsigned char *q = whole();
		say("mapped-while-onfault", "%s", all(q));
		munmap(q, len);
	}
	munlockall();
	munmap(p, len);
}

static void questions(void)
{
	static unsigned char in[1 << 16];
	unsigned char *p = whole();
	touch(p + 5 * P, 0);
	int r = mincore(p, len, in);
	say("mincore", "%s, a touched page is %s", ok(r), in[5] & 1u ? "in" : "out");
	say("mincore-changes-nothing", "%s", all(p));
	r = mincore(p, len, in);
	size_t n = 0;
	for (size_t i = 0; i < len / P; i++)
		n += in[i] & 1u;
	say("mincore-all", "%s, %s", ok(r), n == len / P ? "all in" : "not all in");
	say("mincore-unaligned", "%s", ok(mincore(p + 1, P, in)));
	say("mincore-bad-vector", "%s", ok(mincore(p, P, NULL)));
	munmap(p + 20 * P, P);
	say("mincore-over-a-hole", "%s", ok(mincore(p, 30 * P, in)));
	drop(p, len, 20 * P, P);

	static const struct { const char *name; int flags; } syncs[] = {
		{ "msync-sync", MS_SYNC }, { "msync-async", MS_ASYNC }, { "msync-invalidate", MS_INVALIDATE }, { "msync-0", 0 },
		{ "msync-both", MS_SYNC | MS_ASYNC }, { "msync-wrong", 64 },
	};
	p = whole();
	if (kind == WRITABLE)
		p[3 * P] = (unsigned char)~probe_want[3 * P];
	for (size_t i = 0; i < sizeof syncs / sizeof *syncs; i++) {
		r = msync(p, len, syncs[i].flags);
		say(syncs[i].name, "%s", ok(r));
	}
	if (kind == WRITABLE) {
		say("msync-kept", "%s", p[3 * P] == probe_want[3 * P] ? "lost" : "kept");
		p[3 * P] = probe_want[3 * P];
	}
	say("msync-unaligned", "%s", ok(msync(p + 1, P, MS_SYNC)));
	say("msync-changes-nothing", "%s", all(p));
	munmap(p + 20 * P, P);
	say("msync-over-a-hole", "%s", ok(msync(p, 30 * P, MS_ASYNC)));
	drop(p, len, 20 * P, P);
}

/* ---- stores ---- */

static void stores(void)
{
	unsigned char *p = whole();
	if (kind != WRITABLE) {
		say("store-to-read-only", "%s, again %s, then %s", sig_name(touch(p + 5 * P + 1, 1)), sig_name(touch(p + 5 * P + 1, 1)), all(p));
		say("store-afterwards", "%s", sig_name(touch(p + 5 * P + 1, 1)));
		munmap(p, len);
		return;
	}
	size_t from = 11 * P - 100, n = 2 * P + 200; /* over page borders; then one byte in the last page */
	memset(p + from, 0xa5, n);
	p[probe_len - 1] = (unsigned char)~probe_want[probe_len - 1];
	p[probe_len] = 0x77; /* behind the end of the file, in its last page */
	int kept = 1;
	for (size_t i = 0; i < n; i++)
		kept &= p[from + i] == 0xa5;
	say("store", "%s, %s", kept ? "kept" : "lost", both(p, 0, from, p + from + n, from + n, probe_len - 1 - from - n));
	say("store-at-the-end", "%s", p[probe_len - 1] != probe_want[probe_len - 1] && p[probe_len] == 0x77 ? "kept" : "lost");
	mprotect(p, len, PROT_NONE);
	mprotect(p, len, PROT_READ);
	say("store-after-mprotect", "%s", p[from] == 0xa5 && p[from + n - 1] == 0xa5 ? "kept" : "lost");
	unsigned char *other = map_whole(PROT_READ, MAP_SHARED);
	say("store-seen-elsewhere", "%s", all(other));
	munmap(other, len);
	madvise(p, 12 * P, MADV_DONTNEED); /* drops what was written there, and only there */
	say("store-dropped", "%s, behind it %s", verdict(p, 0, 12 * P), p[from + n - 1] == 0xa5 && p[12 * P] == 0xa5 ? "kept" : "lost");
	munmap(p, len);
}

/* ---- offsets, lengths, errors ---- */

static void shapes(void)
{
	size_t last = len - P, tail = probe_len - last;
	unsigned char *p = view(P, probe_len - P);
	say("offset-page", "%s", verdict(p, P, probe_len - P));
	munmap(p, len - P);
	p = view(77 * P, 100 * P + 123); /* to the end of its last page, which the length does not name */
	say("odd-length", "%s", verdict(p, 77 * P, 101 * P));
	munmap(p, 101 * P);
	p = view(3 * P, 1);
	say("length-1", "%s", verdict(p, 3 * P, P));
	munmap(p, P);
	p = view(last, tail);
	say("last-page", "%s", verdict(p, last, P)); /* zeros behind the end of the file */
	munmap(p, P);
	p = view(0, len + 5 * P);
	say("beyond-the-end", "%s, %s, %s", all(p), sig_name(touch(p + len, 0)), sig_name(touch(p + len + 4 * P, 0)));
	if (kind == WRITABLE)
		say("beyond-the-end-store", "%s", sig_name(touch(p + len + P, 1)));
	munmap(p, len + 5 * P);
	p = mmap(NULL, 2 * P, PROT_READ, MAP_PRIVATE, probe_fd, (off_t)(len + 10 * P));
	say("wholly-beyond-the-end", "%s, %s", moved_to(p), p == MAP_FAILED ? "" : sig_name(touch(p, 0)));
	munmap(p, 2 * P);
}

static void errors(void)
{
	static const struct { const char *name; int prot, flags; long off; } tries[] = {
		{ "shared-writable", PROT_READ | PROT_WRITE, MAP_SHARED, 0 },
		{ "offset-unaligned", PROT_READ, MAP_PRIVATE, 100 },
		{ "no-type", PROT_READ, 0, 0 },
		{ "validate", PROT_READ, MAP_SHARED_VALIDATE, 0 },
		{ "noreserve", PROT_READ, MAP_PRIVATE | MAP_NORESERVE, 0 },
		{ "populate", PROT_READ, MAP_SHARED | MAP_POPULATE, 0 },
		{ "populate-nonblock", PROT_READ, MAP_PRIVATE | MAP_POPULATE | MAP_NONBLOCK, 0 },
		{ "populate-writable", PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, 0 },
		{ "exec", PROT_READ | PROT_EXEC, MAP_PRIVATE, 0 },
		{ "stack", PROT_READ, MAP_PRIVATE | MAP_STACK, 0 },
	};
	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		unsigned char *p = mmap(NULL, probe_len, tries[i].prot, tries[i].flags, probe_fd, tries[i].off);
		line(tries[i].name, "%s, %s", moved_to(p), p == MAP_FAILED ? "" : all(p));
		if (p != MAP_FAILED)
			munmap(p, len);
	}
	unsigned char *p = mmap(NULL, 0, PROT_READ, MAP_PRIVATE, probe_fd, 0);
	line("no-length", "%s", moved_to(p));
	p = mmap(NULL, SIZE_MAX - 5, PROT_READ, MAP_PRIVATE, probe_fd, 0);
	line("endless", "%s", moved_to(p));
	p = mmap(room(P) + 1, P, PROT_READ, MAP_PRIVATE | MAP_FIXED, probe_fd, 0);
	line("fixed-unaligned", "%s", moved_to(p));
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC), fd = open(probe_path, O_RDONLY | O_CLOEXEC);
	close(fd);
	p = mmap(NULL, P, PROT_READ, MAP_PRIVATE, fd, 0);
	line("closed-descriptor", "%s", moved_to(p));
	close(null);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	probe_open(argv[1], argv[2]);
	P = probe_page;
	len = whole_pages(probe_len);
	for (kind = 0; kind < KINDS; kind++)
		for (filled = 0; filled < 2; filled++) {
			protections();
			remaps();
			holes();
			locks();
			questions();
			stores();
			shapes();
		}
	errors();
	return 0;
}
