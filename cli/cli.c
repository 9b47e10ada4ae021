#include "cli.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

struct cli cli;

int cli_option(int opt, char **argv)
{
	switch (opt) {
	case 'h':
		fputs(cli.help, stdout);
		return CLI_OK;
	case CLI_VERSION:
		puts("ct " CT_VERSION);
		return CLI_OK;
	case 'q':
		cli.quiet = true;
		return -1;
	case CLI_JSON:
		cli.json = true;
		return -1;
	default: {
		const char *arg = argv[optind > 1 ? optind - 1 : 1];
		if (opt == ':')
			return cli_usage("%s needs a value", TEXT(arg, strlen(arg)));
		if (optopt > 0 && optopt < 256)
			return cli_usage("unknown option -%s", TEXT(&(char){ (char)optopt }, 1));
		return cli_usage("unknown or ambiguous option %s", TEXT(arg, strlen(arg)));
	}
	}
}

int cli_usage(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "ct %s: ", cli.command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "; see ct %s --help\n", cli.command);
	return CLI_USAGE;
}

int cli_failed(const char *file, const struct err *err)
{
	const char *shown = file ? TEXT(file, strlen(file)) : "", *text = err->text;
	size_t len = strlen(shown);

	/* Some messages of lib begin with the file's name: once is enough. */
	if (len > 0 && strncmp(text, shown, len) == 0 && strncmp(text + len, ": ", 2) == 0)
		text += len + 2;
	fprintf(stderr, "ct: %s%s%s: %s\n", shown, file ? ": " : "", err_name(err), text);
	if (cli.json) {
		struct buf b = BUF_INIT;
		buf_puts(&b, "{\"error\":\"");
		buf_puts(&b, err_name(err));
		if (file) {
			buf_puts(&b, "\",\"file\":");
			text_json(&b, file, strlen(file));
		} else {
			buf_puts(&b, "\",\"file\":null");
		}
		buf_puts(&b, ",\"message\":");
		text_json(&b, text, strlen(text));
		buf_putc(&b, '}');
		cli_print(&b);
	}
	return CLI_FAILED;
}

int cli_err(struct err *err, int errnum, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err->text, sizeof err->text, fmt, ap);
	va_end(ap);
	err->code = ERR_SYSTEM;
	err->sys_errno = errnum;
	return -1;
}

void cli_say(const char *fmt, ...)
{
	va_list ap;

	if (cli.quiet)
		return;
	fputs("ct: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void cli_json_text(struct buf *b, const void *s, size_t len)
{
	const char *p = s, *end = p + len;
	char hex[16];

	while (p < end) {
		uint32_t cp = 0;
		size_t n = text_utf8_decode(p, (size_t)(end - p), &cp);
		/* Beyond ASCII there are only strings in JSON, so an escape is as good as the character. */
		if (n > 0 && (cp < 0x7f || text_is_harmless(cp))) {
			buf_put(b, p, n);
		} else if (n > 0) {
			snprintf(hex, sizeof hex, "\\u%04x", (unsigned int)cp);
			buf_puts(b, hex);
		}
		p += n ? n : 1;
	}
}

int cli_print(struct buf *b)
{
	struct err e = { 0 };
	bool bad = b->failed;

	if (bad)
		err_sys(&e, ENOMEM, "the output");
	else if (fwrite(b->data, 1, b->len, stdout) != b->len || putchar('\n') == EOF || fflush(stdout) != 0) {
		err_sys(&e, errno, "cannot write");
		bad = true;
	}
	buf_release(b);
	if (!bad)
		return CLI_OK;
	fprintf(stderr, "ct: %s: %s\n", err_name(&e), e.text);
	return CLI_FAILED;
}

bool cli_number(const char *text, uint64_t min, uint64_t max, bool suffixes, uint64_t *v)
{
	uint64_t n = 0;
	unsigned int shift = 0;
	const char *p = text;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (n > (UINT64_MAX - 9) / 10)
			return false;
		n = n * 10 + (uint64_t)(*p - '0');
	}
	if (p == text)
		return false;
	if (suffixes && *p) {
		shift = *p == 'K' || *p == 'k' ? 10 : *p == 'M' || *p == 'm' ? 20 : *p == 'G' || *p == 'g' ? 30 : 0;
		if (shift)
			p++;
	}
	if (*p || n > UINT64_MAX >> shift)
		return false;
	*v = n << shift;
	return *v >= min && *v <= max;
}

unsigned int cli_jobs(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) < 0)
		return 1;
	int n = CPU_COUNT(&set);
	return n < 1 ? 1 : n > 32 ? 32 : (unsigned int)n;
}

const char *cli_env(const char *name)
{
	return getenv(name);
}

const char *cli_size(char out[32], uint64_t bytes)
{
	static const char *const unit[] = { "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double v = (double)bytes / 1024;
	size_t u = 0;

	if (bytes < 10240) {
		snprintf(out, 32, "%llu bytes", (unsigned long long)bytes);
		return out;
	}
	for (; v >= 1024 && u + 1 < sizeof unit / sizeof unit[0]; u++)
		v /= 1024;
	snprintf(out, 32, "%.1f %s", v, unit[u]);
	return out;
}
