/*
 * early: reads the file that EARLY_FILE names whenever a program's own code runs: in .preinit_array, constructors, main, atexit, destructors.
 * tests/standins/early.c does the same in libraries. A library that wants to know when main begins has a function standin_main().
 */
#include "../standins/early.h"

extern void standin_main(void) __attribute__((weak));

static void preinit(int argc, char **argv, char **env)
{
	(void)argc;
	(void)argv;
	early_read("preinit", env);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(int, char **, char **) = preinit;

__attribute__((constructor)) static void constructor(int argc, char **argv, char **env)
{
	(void)argc;
	(void)argv;
	early_read("constructor", env);
}

__attribute__((destructor)) static void destructor(void)
{
	early_read("destructor", environ);
}

static void at_exit(void)
{
	early_read("atexit", environ);
}

int main(void)
{
	if (standin_main)
		standin_main();
	atexit(at_exit);
	early_read("main", environ);
	return 0;
}
