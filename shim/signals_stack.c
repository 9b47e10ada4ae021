#include "signals_stack.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "sys.h"

#define PREPARED 4

static _Atomic(char *) stacks[SIGNALS_STACKS]; /* the lowest byte above the guard; never unmapped */

#define GUARD (64u << 10) /* a page of any size */

static char *stack_map(void)
{
	long r = sys6(SYS_mmap, 0, GUARD + SIGNALS_STACK_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (sys_failed(r))
		return NULL;
	char *p = (char *)(r + (long)GUARD); /* NOLINT(performance-no-int-to-ptr): a raw system call's answer */
	if (sys3(SYS_mprotect, p, SIGNALS_STACK_SIZE, PROT_READ | PROT_WRITE) < 0) {
		sys2(SYS_munmap, r, GUARD + SIGNALS_STACK_SIZE);
		return NULL;
	}
	sys3(SYS_madvise, p, SIGNALS_STACK_SIZE, MADV_DONTDUMP); /* decrypted bytes may pass */
	return p;
}

static void stack_unmap(char *p)
{
	sys2(SYS_munmap, p - GUARD, GUARD + SIGNALS_STACK_SIZE);
}

/* The stack of place i, mapped if it was not. Only the place's holder calls this. */
static char *stack_of(int i)
{
	char *p = atomic_load(&stacks[i]);
	if (!p) {
		p = stack_map();
		atomic_store(&stacks[i], p);
	}
	return p;
}

long signals_stack_prepare(void)
{
	for (int i = 0; i < PREPARED; i++)
		if (!stack_of(i))
			return -ENOMEM;
	return 0;
}

#if defined(__SANITIZE_ADDRESS__)

void signals_stack_call(struct signals_stack_use *use, void (*fn)(void *), void *arg)
{
	(void)use;
	(void)stack_of;
	(void)stack_unmap;
	fn(arg);
}

#else

/* Calls fn(arg) with the stack pointer at top (aligned to 16). The frame pointer keeps the way back, for unwinders as well. */
void signals_stack_switch(char *top, void (*fn)(void *), void *arg) __attribute__((visibility("hidden")));

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl signals_stack_switch\n"
        ".hidden signals_stack_switch\n"
        ".type signals_stack_switch, @function\n"
        "signals_stack_switch:\n"
        "	.cfi_startproc\n"
        "	endbr64\n"
        "	pushq	%rbp\n"
        "	.cfi_def_cfa_offset 16\n"
        "	.cfi_offset %rbp, -16\n"
        "	movq	%rsp, %rbp\n"
        "	.cfi_def_cfa_register %rbp\n"
        "	movq	%rdi, %rsp\n"
        "	movq	%rdx, %rdi\n"
        "	call	*%rsi\n"
        "	movq	%rbp, %rsp\n"
        "	popq	%rbp\n"
        "	.cfi_def_cfa %rsp, 8\n"
        "	ret\n"
        "	.cfi_endproc\n"
        ".size signals_stack_switch, .-signals_stack_switch\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl signals_stack_switch\n"
        ".hidden signals_stack_switch\n"
        ".type signals_stack_switch, %function\n"
        "signals_stack_switch:\n"
        "	.cfi_startproc\n"
        "	stp	x29, x30, [sp, #-16]!\n"
        "	.cfi_def_cfa_offset 16\n"
        "	.cfi_offset 29, -16\n"
        "	.cfi_offset 30, -8\n"
        "	mov	x29, sp\n"
        "	.cfi_def_cfa_register 29\n"
        "	mov	sp, x0\n"
        "	mov	x0, x2\n"
        "	blr	x1\n"
        "	mov	sp, x29\n"
        "	.cfi_def_cfa_register 31\n"
        "	ldp	x29, x30, [sp], #16\n"
        "	.cfi_restore 30\n"
        "	.cfi_restore 29\n"
        "	.cfi_def_cfa_offset 0\n"
        "	ret\n"
        "	.cfi_endproc\n"
        ".size signals_stack_switch, .-signals_stack_switch\n");
#endif

/* A place that nobody uses, of those that have a stack or of all, the lowest so that few are ever mapped; -1: none. */
static int place_take(struct signals_stack_use *use, bool mapped)
{
	for (int i = 0; i < SIGNALS_STACKS; i++) {
		uint64_t bit = UINT64_C(1) << (i % 64);
		if ((mapped && !atomic_load(&stacks[i])) || (atomic_load(&use->bits[i / 64]) & bit))
			continue;
		if (!(atomic_fetch_or(&use->bits[i / 64], bit) & bit))
			return i;
	}
	return -1;
}

static void place_give(struct signals_stack_use *use, int i)
{
	atomic_fetch_and(&use->bits[i / 64], ~(UINT64_C(1) << (i % 64)));
}

static char *acquire(struct signals_stack_use *use, int *place)
{
	for (;;) {
		char *p;
		*place = place_take(use, true);
		if (*place >= 0)
			return stack_of(*place);
		*place = place_take(use, false);
		p = *place >= 0 ? stack_of(*place) : stack_map();
		if (p)
			return p;
		if (*place >= 0)
			place_give(use, *place);
		sys0(SYS_sched_yield);
	}
}

void signals_stack_call(struct signals_stack_use *use, void (*fn)(void *), void *arg)
{
	int place;
	char *p = acquire(use, &place);
	signals_stack_switch(p + SIGNALS_STACK_SIZE, fn, arg);
	if (place >= 0)
		place_give(use, place);
	else
		stack_unmap(p);
}

#endif
