/*
 * config: the shim's settings, read once from the environment (secure_getenv) before anything else, and what it writes for people.
 *
 * Logging allocates nothing, takes no lock, keeps errno, and writes one line with one system call: to CTSHIM_LOG_FILE, else to
 * descriptor 2 as long as that is what it was at the start (a program that closes 2 and reuses it gets no line of ours).
 */
#ifndef SHIM_CONFIG_H
#define SHIM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum mmap_mode { MMAP_AUTO, MMAP_LAZY, MMAP_EAGER };

struct config {
	bool off;     /* CTSHIM_DISABLE=1, or one of our own programs */
	bool valgrind; /* the program runs under it */
	bool require; /* CTSHIM_REQUIRE=1: plain .safetensors are refused */
	enum log_level level;
	int threads;        /* CTSHIM_THREADS: at most so many decrypt at once; 0: as many as there are cores */
	enum mmap_mode mmap; /* CTSHIM_MMAP: auto: lazily if possible; lazy: or not at all; eager */
	size_t memory_max;   /* CTSHIM_MEMORY_MAX: bytes of plaintext that mappings may hold; 0: any */
	char log_file[256]; /* "" for standard error */
	char stats[256];    /* CTSHIM_STATS: "", "stderr" or a file */
};

extern struct config config;

void config_read(void);

/* Cores that this process may use, and threads of the shim that may decrypt at once (CTSHIM_THREADS, else the same): 1 to CONFIG_CORES_MAX. */
#define CONFIG_CORES_MAX 16
int config_cores(void);
int config_threads(void);

/* "ctshim: " + text + newline, if `level` is wanted. Foreign strings must come escaped. */
void config_log(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Appends a line to CTSHIM_STATS (a file or "stderr"). */
void config_stats_line(const char *line);

#endif
