#include "hardening.h"

#include <stdio.h>
#include <string.h>

#include "text.h"

static const struct {
	const char *name, *words, *remedy;
} measures[] = {
	{ "no_dump", "not traceable", NULL },
	{ "no_core", "no core dumps", NULL },
	{ "no_new_privs", "no new privileges", NULL },
	{ "capabilities", "few capabilities", NULL },
	{ "memory_bounded", "bounded memory", NULL },
	{ "peer_pidfd", "peers by pidfd", "Linux 6.5 has them" },
	{ "seccomp", "few system calls", NULL },
	{ "keeper_seccomp", "fewer for the process with the keys", NULL },
	{ "keeper_landlock", "no files for that", "PKCS#11 modules need them, or the kernel has no Landlock" },
	{ "memory_locked", "keys in locked memory", "keys can reach swap: raise ulimit -l" },
	{ "memory_hidden", "keys hidden from root", "the kernel has no memfd_secret, or ulimit -l is too low" },
};

static size_t find(const struct json *j, int key)
{
	size_t i = 0;

	while (i < sizeof measures / sizeof *measures && !json_is(j, key, measures[i].name))
		i++;
	return i;
}

static void show_name(const struct json *j, int key)
{
	size_t i = find(j, key), len;
	const char *raw = json_raw(j, key, &len);

	/* one of a newer agent has no words here */
	fputs(i < sizeof measures / sizeof *measures ? measures[i].words : TEXT(raw, len), stdout);
}

static void show_missing(const struct json *j, int key, int value)
{
	size_t i = find(j, key), len;
	const char *raw = json_raw(j, value, &len);
	const char *remedy = i < sizeof measures / sizeof *measures ? measures[i].remedy : NULL;

	fputs("  missing:   ", stdout);
	show_name(j, key);
	printf(" (%s%s%s)\n", json_type(j, value) == JSON_STRING ? TEXT(raw, len) : "not done", remedy ? ": " : "", remedy ? remedy : "");
}

void hardening_show(const struct json *j, int object)
{
	const char *between = "  hardening: ";

	for (int key = json_first(j, object); key >= 0; key = json_sibling(j, key)) {
		if (json_type(j, json_value(j, key)) != JSON_TRUE)
			continue;
		fputs(between, stdout);
		show_name(j, key);
		between = ", ";
	}
	if (strcmp(between, ", ") == 0)
		puts("");
	for (int key = json_first(j, object); key >= 0; key = json_sibling(j, key))
		if (json_type(j, json_value(j, key)) != JSON_TRUE)
			show_missing(j, key, json_value(j, key));
}
