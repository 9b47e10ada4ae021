#include "rego.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define ANSWER_MAX 4096u
#define ERROR_MAX (1u << 20)

int rego_load(struct rego *lib, const char *path, struct err *err)
{
	static const char *const names[] = { "regoNew", "regoAddModule", "regoSetInputTerm", "regoSetStrictBuiltInErrors", "regoQuery",
		                             "regoOutputOk", "regoOutputJSONSize", "regoOutputJSON", "regoErrorSize", "regoError" };
	void *const to[] = { &lib->create, &lib->add_module, &lib->set_input, &lib->set_strict, &lib->query,
		             &lib->output_ok, &lib->output_size, &lib->output_text, &lib->error_size, &lib->error_text };
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!handle) {
		const char *why = dlerror();

		return err_set(err, ERR_FORMAT, "%s", why ? TEXT(why, strlen(why)) : "no library");
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		void *f = dlsym(handle, names[i]);

		if (!f)
			return err_set(err, ERR_FORMAT, "%s: it has no %s (wanted: librego of rego-cpp 1.5)", TEXT(path, strlen(path)), names[i]);
		memcpy(to[i], &f, sizeof f);
	}
	return 0;
}

/* The engine's messages are trees, "(error (errormsg 26:Function not found: f) …": the first message in one is what people want. */
static const char *message(char *text)
{
	char *m = strstr(text, "(errormsg "), *end;

	m = m ? strchr(m, ':') : NULL;
	if (!m)
		return text;
	m++;
	end = m + strcspn(m, "\n");
	*end = '\0';
	if (end > m && end[-1] == ')')
		end[-1] = '\0';
	return m;
}

static const char *failed(const struct rego *lib, void *rego, const char *what, struct err *err)
{
	uint_least32_t size = lib->error_size(rego);
	char *text = size < ERROR_MAX ? calloc(1, (size_t)size + 1) : NULL;
	const char *m = text && size && !lib->error_text(rego, text, size) ? message(text) : "";

	err_set(err, ERR_REJECTED, "%s%s%s", what, *m ? ": " : "", TEXT(m, strlen(m)));
	free(text);
	return NULL;
}

static const char *verdict(const struct rego *lib, void *output, struct err *err)
{
	static const char *const answers[][2] = {
		{ "{\"expressions\":[[true]]}", "true" },
		{ "{\"expressions\":[[false]]}", "false" },
		{ "undefined", "undefined" },
	};
	static char text[ANSWER_MAX + 1];
	uint_least32_t size = lib->output_size(output);
	bool whole = size <= ANSWER_MAX && !lib->output_text(output, text, size);
	const char *m;

	for (size_t i = 0; whole && lib->output_ok(output) && i < sizeof answers / sizeof *answers; i++)
		if (!strcmp(text, answers[i][0]))
			return answers[i][1];
	text[ANSWER_MAX] = '\0';
	m = message(text);
	err_set(err, ERR_REJECTED, "data.model.allow is neither true nor false but %s", *m ? TEXT(m, strlen(m)) : "nothing");
	return NULL;
}

const char *rego_decide(const struct rego *lib, const char *policy, const char *input, struct err *err)
{
	void *rego = lib->create(), *output;

	if (!rego) {
		err_set(err, ERR_REJECTED, "the engine does not start");
		return NULL;
	}
	lib->set_strict(rego, 1); /* else a builtin that fails is undefined, and `not` of it true */
	if (lib->add_module(rego, "policy", policy))
		return failed(lib, rego, "the policy does not compile", err);
	if (lib->set_input(rego, input))
		return failed(lib, rego, "the engine does not take the input", err);
	output = lib->query(rego, "[data.model.allow]"); /* in brackets: false alone is printed as undefined */
	if (!output)
		return failed(lib, rego, "the policy fails", err);
	return verdict(lib, output, err);
}
