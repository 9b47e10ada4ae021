#include "sys.h"

#include <errno.h>

#define PAGE 4096u /* of the smallest */
#define WORD 8u    /* of a signal mask */

/* rt_sigprocmask() fetches the mask before it finds that there is no such thing to do with it: a system call that even strict filters allow. */
static bool word_readable(uintptr_t at)
{
	return at != 0 && sys4(SYS_rt_sigprocmask, -1, at, 0, WORD) != -EFAULT; /* 0: no mask, and nothing is fetched */
}

bool sys_readable(const void *p, size_t len)
{
	uintptr_t from = (uintptr_t)p, end;
	if (len == 0)
		return true;
	if (__builtin_add_overflow(from, len, &end))
		return false;
	if (len < WORD)
		return word_readable(from & ~(uintptr_t)(WORD - 1)) && word_readable((end - 1) & ~(uintptr_t)(WORD - 1));
	for (uintptr_t at = from; at + WORD <= end; at = (at & ~(uintptr_t)(PAGE - 1)) + PAGE)
		if (!word_readable(at))
			return false;
	return word_readable(end - WORD);
}
