/*
 * rego: librego (rego-cpp 1.5, C API) by dlopen. One question a process: nothing of the interpreter is released.
 *
 * The library is trusted until the process is locked (jail.h): its constructors run before. Whatever it prints to stdout is nobody's verdict.
 */
#ifndef CT_ENGINE_REGO_H
#define CT_ENGINE_REGO_H

#include <stdint.h>

#include "err.h"

/* The functions of rego_c.h that are used; handles are opaque. */
struct rego {
	void *(*create)(void);
	uint_least32_t (*add_module)(void *rego, const char *name, const char *text);
	uint_least32_t (*set_input)(void *rego, const char *term);
	void (*set_strict)(void *rego, uint_least8_t on);
	void *(*query)(void *rego, const char *text);
	uint_least8_t (*output_ok)(void *output);
	uint_least32_t (*output_size)(void *output);
	uint_least32_t (*output_text)(void *output, char *dst, uint_least32_t cap);
	uint_least32_t (*error_size)(void *rego);
	uint_least32_t (*error_text)(void *rego, char *dst, uint_least32_t cap);
};

/* path is absolute. 0, or -1 with ERR_FORMAT: what the dynamic linker said, or which function the library lacks. */
int rego_load(struct rego *lib, const char *path, struct err *err);

/*
 * What the policy's data.model.allow is with that input (both NUL-terminated): "true", "false" or "undefined", static storage. NULL with
 * ERR_REJECTED: not Rego, an error, any other value.
 */
const char *rego_decide(const struct rego *lib, const char *policy, const char *input, struct err *err);

#endif
