#include "secret.h"

#include <string.h>
#include <sys/mman.h>

#include "sys.h"

/* The struct and its bytes share one mapping, so that nothing about a key lies on a heap. */
struct holder {
	struct secret s;
	size_t mapped;
	_Alignas(16) uint8_t bytes[];
};

struct secret *secret_new(size_t len)
{
	size_t mapped;
	struct holder *h;
	long at;

	if (len > (size_t)PTRDIFF_MAX - sizeof *h)
		return NULL;
	mapped = sizeof *h + len;
	at = sys6(SYS_mmap, 0, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sys_failed(at))
		return NULL;
	h = (struct holder *)at;
	sys3(SYS_madvise, h, mapped, MADV_DONTDUMP);
	h->s.locked = sys2(SYS_mlock, h, mapped) == 0;
	h->s.data = h->bytes;
	h->s.len = len;
	h->mapped = mapped;
	return &h->s;
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
