/* A library that reads a file while it is being loaded and unloaded. NAME: its name, quoted. */
#define _GNU_SOURCE
#include "early.h"

void early_link(void);

void early_link(void) /* for those who want it as a dependency */
{
}

__attribute__((constructor)) static void constructor(int argc, char **argv, char **env)
{
	(void)argc;
	(void)argv;
	early_read(NAME " constructor", env);
}

__attribute__((destructor)) static void destructor(void)
{
	early_read(NAME " destructor", environ);
}
