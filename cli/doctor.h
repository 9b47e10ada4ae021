/*
 * doctor: the parts of ct doctor. One function a finding; doctor.c has the table, in the order in which they are printed.
 *
 * Nothing here may hang: whatever waits for somebody else has DOCTOR_MS.
 */
#ifndef CT_DOCTOR_H
#define CT_DOCTOR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "err.h"

#define DOCTOR_MS 3000

enum doctor_status {
	DOCTOR_OK,
	DOCTOR_WARN, /* works, but worse than it could */
	DOCTOR_FAIL, /* an encrypted model cannot be read because of this */
};

struct finding {
	enum doctor_status status;
	char text[1024]; /* one line; foreign strings in it are escaped */
	char remedy[512]; /* "": none is needed, or known */
};

/* What a process under the shim says (shim/report.h), as it came: escape it. */
struct doctor_report {
	char version[64], path[PATH_MAX], openssl[128], method[32], why[600];
};

struct doctor {
	const char *program; /* that the user asks about; NULL: none */
	char shim[PATH_MAX]; /* "": not found, or not loaded; shim_err says why */
	struct err shim_err;
	struct doctor_report report; /* of a process under that shim; all "" where shim is "" or nothing was there to try it with */
	bool agent_answers;
	bool agent_locked, agent_memory_locked;
	uint64_t agent_sets;
};

/* Fills *f; true, so that a finding can end with it. The text of doctor_remedy() goes to the remedy. */
bool doctor_say(struct finding *f, enum doctor_status status, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool doctor_remedy(struct finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- doctor_probe: a program under the shim ---- */

enum doctor_probed {
	DOCTOR_REPORTED,
	DOCTOR_NO_REPORT,  /* *err says why */
	DOCTOR_NO_PROGRAM, /* there is nothing here that could be run under a preload */
};

/* Runs a program that does nothing (/bin/true) with `preload` in LD_PRELOAD, in front of what is there already. */
enum doctor_probed doctor_probe(const char *preload, struct doctor_report *r, struct err *err);

/* ---- findings: false if there is nothing to say ---- */

/* doctor_probe.c */
bool doctor_shim(struct doctor *d, struct finding *f);
bool doctor_preload(struct doctor *d, struct finding *f);
bool doctor_ptrace(struct doctor *d, struct finding *f);

/* doctor_crypto.c; measures for some milliseconds */
bool doctor_openssl(struct doctor *d, struct finding *f);

/* doctor_machine.c */
bool doctor_method(struct doctor *d, struct finding *f);
bool doctor_gpu(struct doctor *d, struct finding *f);
bool doctor_memlock(struct doctor *d, struct finding *f);
bool doctor_nofile(struct doctor *d, struct finding *f);
bool doctor_fsize(struct doctor *d, struct finding *f);
bool doctor_map_count(struct doctor *d, struct finding *f);
bool doctor_memory(struct doctor *d, struct finding *f);

#endif
