#include "secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "sys.h"

/* The struct and its bytes share one mapping, so that nothing about a key lies on a heap. */
struct holder {
	struct secret s;
	size_t mapped;
	_Alignas(16) uint8_t bytes[];
};

/* Pages of a file that only who maps it sees; the mapping keeps it. An address, or -errno. Never mlock() it: ENOMEM. */
static long map_hidden(size_t mapped)
{
#ifdef SYS_memfd_secret
	long fd = sys1(SYS_memfd_secret, O_CLOEXEC), at;

	if (fd < 0)
		return fd;
	at = sys2(SYS_ftruncate, fd, mapped);
	if (at == 0)
		at = sys6(SYS_mmap, 0, mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	sys_close((int)fd);
	return at;
#else
	(void)mapped;
	return -ENOSYS;
#endif
}

static struct secret *make(size_t len, bool hidden)
{
	size_t mapped;
	struct holder *h;
	long at = -ENOSYS;

	if (len > (size_t)PTRDIFF_MAX - sizeof *h)
		return NULL;
	mapped = sizeof *h + len;
	if (hidden)
		at = map_hidden(mapped);
	hidden = !sys_failed(at);
	if (!hidden)
		at = sys6(SYS_mmap, 0, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_failed(at))
		return NULL;
	h = (struct holder *)at;
	sys3(SYS_madvise, h, mapped, MADV_DONTDUMP);
	h->s.hidden = hidden;
	h->s.locked = hidden || sys2(SYS_mlock, h, mapped) == 0;
	h->s.data = h->bytes;
	h->s.len = len;
	h->mapped = mapped;
	return &h->s;
}

struct secret *secret_new(size_t len)
{
	return make(len, false);
}

struct secret *secret_new_hidden(size_t len)
{
	return make(len, true);
}

struct secret *secret_hide(struct secret *s)
{
	struct secret *h = secret_new_hidden(s->len);

	if (!h || !h->hidden) {
		secret_free(h);
		return s;
	}
	memcpy(h->data, s->data, s->len);
	secret_free(s);
	return h;
}

struct secret *secret_copy(const void *src, size_t len)
{
	struct secret *s = secret_new(len);

	if (s && len)
		memcpy(s->data, src, len);
	return s;
}

void secret_free(struct secret *s)
{
	struct holder *h = (struct holder *)s; /* the first member */
	size_t mapped;

	if (!s)
		return;
	mapped = h->mapped;
	explicit_bzero(h, mapped);
	sys2(SYS_munmap, h, mapped);
}

void secret_wipe(void *p, size_t len)
{
	if (len)
		explicit_bzero(p, len);
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
	uint8_t diff = 0;
	size_t i;

	if (a->len != b->len)
		return false;
	for (i = 0; i < a->len; i++)
		diff |= (uint8_t)(a->data[i] ^ b->data[i]);
	__asm__ volatile("" : "+r"(diff)); /* keeps the compiler from leaving the loop early */
	return diff == 0;
}
