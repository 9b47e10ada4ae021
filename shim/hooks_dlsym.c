/*
 * dlsym(), dlopen(), and what we export of CUDA's driver (pin.h).
 *
 * They are assembly: the real ones must be reached with the stack as it was, since they take their caller's address for RTLD_NEXT, RTLD_DEFAULT
 * and the folders that are searched. Whoever calls them (a malloc of somebody's, a sanitizer) may do so before anything here is set up.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#include "config.h"
#include "deepbind.h"
#include "hooks.h"
#include "pin.h"
#include "real.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

/*
 * NAME(a, b): TARGET(a, b), in C, says where to go on, with the same arguments and the caller's address as a third, at which only our own functions
 * look.
 */
#if defined(__x86_64__)
#define GO_ON(name, target) \
	__asm__(".text\n" \
	        ".globl " name "\n" \
	        ".type " name ", @function\n" \
	        name ":\n" \
	        "	.cfi_startproc\n" \
	        "	pushq	%rdi\n" \
	        "	.cfi_adjust_cfa_offset 8\n" \
	        "	pushq	%rsi\n" \
	        "	.cfi_adjust_cfa_offset 8\n" \
	        "	subq	$8, %rsp\n" \
	        "	.cfi_adjust_cfa_offset 8\n" \
	        "	call	" target "\n" \
	        "	addq	$8, %rsp\n" \
	        "	.cfi_adjust_cfa_offset -8\n" \
	        "	popq	%rsi\n" \
	        "	.cfi_adjust_cfa_offset -8\n" \
	        "	popq	%rdi\n" \
	        "	.cfi_adjust_cfa_offset -8\n" \
	        "	movq	(%rsp), %rdx\n" \
	        "	jmp	*%rax\n" \
	        "	.cfi_endproc\n" \
	        ".size " name ", .-" name "\n")
#elif defined(__aarch64__)
#define GO_ON(name, target) \
	__asm__(".text\n" \
	        ".globl " name "\n" \
	        ".type " name ", %function\n" \
	        name ":\n" \
	        "	.cfi_startproc\n" \
	        "	stp	x29, x30, [sp, #-32]!\n" \
	        "	.cfi_def_cfa_offset 32\n" \
	        "	.cfi_offset 29, -32\n" \
	        "	.cfi_offset 30, -24\n" \
	        "	stp	x0, x1, [sp, #16]\n" \
	        "	mov	x29, sp\n" \
	        "	bl	" target "\n" \
	        "	mov	x16, x0\n" \
	        "	ldp	x0, x1, [sp, #16]\n" \
	        "	ldp	x29, x30, [sp], #32\n" \
	        "	.cfi_restore 30\n" \
	        "	.cfi_restore 29\n" \
	        "	.cfi_def_cfa_offset 0\n" \
	        "	mov	x2, x30\n" \
	        "	br	x16\n" \
	        "	.cfi_endproc\n" \
	        ".size " name ", .-" name "\n")
#endif

GO_ON("dlsym", "hooks_dlsym_target");
GO_ON("dlopen", "hooks_dlopen_target");

/* Who asks a library for one of libc's functions (Python's ctypes, above all of libc itself) gets the hook all the same. */
static void *in_library(void *handle, const char *name, void *caller)
{
	(void)caller;
	void *p = real_dlsym()(handle, name);
	return real_ready && !config.off ? real_hook_of(p) : p;
}

/* Used by the assembly above, hence not static. */
__attribute__((no_sanitize_address, no_sanitize_undefined)) void *hooks_dlsym_target(void *handle, const char *name)
{
	union {
		real_dlsym_fn real;
		void *(*ours)(void *, const char *, void *);
		void *p;
	} to = { real_dlsym() };
	if (pin_wants(name) && handle != RTLD_NEXT) /* an interposer that asks for the next one knows what it does */
		to.ours = pin_symbol;
	else if (handle != RTLD_NEXT && handle != RTLD_DEFAULT)
		to.ours = in_library;
	return to.p;
}

/* Used by the assembly above, hence not static. */
__attribute__((no_sanitize_address, no_sanitize_undefined)) void *hooks_dlopen_target(const char *path, int flags)
{
	static void *found;
	void *p = __atomic_load_n(&found, __ATOMIC_RELAXED);
	if (!p) {
		void *volatile next = real_dlsym()(RTLD_NEXT, "dlopen");
		p = next;
		__atomic_store_n(&found, p, __ATOMIC_RELAXED);
	}
	if (!path || !(flags & RTLD_DEEPBIND) || (flags & RTLD_NOLOAD) || !real_ready || config.off)
		return p;
	if (strchr(path, '/')) {
		void *(*ours)(const char *, int) = deepbind_open;
		memcpy(&p, &ours, sizeof p);
	} else {
		deepbind_open(path, flags); /* and stays open: the real one finds it then, or where only its caller's object points to, as it is */
	}
	return p;
}

HOOK int cuMemHostRegister(void *p, size_t len, unsigned int flags)
{
	return pin_linked("cuMemHostRegister", __builtin_return_address(0), p, len, flags);
}

HOOK int cuMemHostRegister_v2(void *p, size_t len, unsigned int flags)
{
	return pin_linked("cuMemHostRegister_v2", __builtin_return_address(0), p, len, flags);
}
