#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli.h"
#include "run.h"
#include "text.h"

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#define LOADER "ld-linux-x86-64.so.2"
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#define LOADER "ld-linux-aarch64.so.1"
#endif

#define LINE_MAX_KERNEL 256 /* how much of a #! line the kernel reads */
#define SCRIPTS_MAX 5       /* interpreters of interpreters that the kernel follows */
#define PHDRS_MAX 256

static bool is_executable(const char *path, int *why)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		*why = errno;
		return false;
	}
	if (!S_ISREG(st.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0) {
		*why = EACCES;
		return false;
	}
	return true;
}

int run_find(const char *name, char path[PATH_MAX])
{
	const char *list = getenv("PATH");
	bool denied = false;
	int why = 0;

	if (!*name)
		return RUN_NOT_FOUND;
	if (strchr(name, '/')) {
		if (snprintf(path, PATH_MAX, "%s", name) >= PATH_MAX)
			return RUN_NOT_FOUND;
		return is_executable(path, &why) ? 0 : why == ENOENT || why == ENOTDIR ? RUN_NOT_FOUND : RUN_CANNOT_EXECUTE;
	}
	if (!list)
		list = "/bin:/usr/bin";
	for (;;) {
		size_t len = strcspn(list, ":");
		/* An empty entry is the current folder. */
		int n = len ? snprintf(path, PATH_MAX, "%.*s/%s", (int)len, list, name) : snprintf(path, PATH_MAX, "./%s", name);
		if (n > 0 && n < PATH_MAX) {
			if (is_executable(path, &why))
				return 0;
			denied = denied || why == EACCES;
		}
		if (!list[len])
			return denied ? RUN_CANNOT_EXECUTE : RUN_NOT_FOUND;
		list += len + 1;
	}
}

static int check_ident(const unsigned char *ident, uint16_t machine, struct err *err)
{
	if (ident[EI_CLASS] != ELFCLASS64)
		return cli_err(err, ENOEXEC, "is a 32-bit program, into which the 64-bit shim cannot be loaded: use a 64-bit build of it");
	if (ident[EI_DATA] != ELFDATA2LSB || machine != MACHINE)
		return cli_err(err, ENOEXEC, "is made for another kind of processor, where the shim cannot be loaded: use a build for this machine");
	return 0;
}

/* The program's loader (PT_INTERP) must be glibc's: others either have no LD_PRELOAD or cannot load what needs glibc. */
static int check_loader(int fd, const Elf64_Ehdr *eh, struct err *err)
{
	char loader[PATH_MAX];

	if (eh->e_phentsize != sizeof(Elf64_Phdr) || eh->e_phnum > PHDRS_MAX)
		return cli_err(err, ENOEXEC, "is an ELF file of an unusual kind, not looked at further");
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr ph;
		if (pread(fd, &ph, sizeof ph, (off_t)(eh->e_phoff + i * sizeof ph)) != (ssize_t)sizeof ph)
			return cli_err(err, ENOEXEC, "is a damaged ELF file");
		if (ph.p_type != PT_INTERP)
			continue;
		if (ph.p_filesz == 0 || ph.p_filesz >= sizeof loader ||
		    pread(fd, loader, (size_t)ph.p_filesz, (off_t)ph.p_offset) != (ssize_t)ph.p_filesz)
			return cli_err(err, ENOEXEC, "is a damaged ELF file");
		loader[ph.p_filesz] = '\0';
		const char *slash = strrchr(loader, '/');
		if (strcmp(slash ? slash + 1 : loader, LOADER) == 0)
			return 0;
		return cli_err(err, ENOEXEC, "uses another C library than glibc (its loader is %s), where the shim cannot be loaded: use a build for glibc, "
		               "or ct decrypt the model for it", TEXT(loader, strlen(loader)));
	}
	return cli_err(err, ENOEXEC, "is statically linked, so the shim cannot be loaded into it: use a dynamically linked build, or ct decrypt "
	               "the model for it");
}

static int check_elf(int fd, const struct stat *st, struct err *err)
{
	Elf64_Ehdr eh;

	if (pread(fd, &eh, sizeof eh, 0) != (ssize_t)sizeof eh)
		return cli_err(err, ENOEXEC, "is a damaged ELF file");
	if (check_ident(eh.e_ident, eh.e_machine, err) < 0)
		return -1;
	if (st->st_mode & (S_ISUID | S_ISGID))
		return cli_err(err, EPERM, "is a set-%s-ID program, where the loader drops the shim: use a copy without that bit",
		               st->st_mode & S_ISUID ? "user" : "group");
	if (fgetxattr(fd, "security.capability", NULL, 0) > 0)
		return cli_err(err, EPERM, "has file capabilities, so the loader drops the shim: use a copy without them (setcap -r)");
	return check_loader(fd, &eh, err);
}

/*
 * env NAME, as #! lines have it: finds NAME behind env's -S and assignments. NULL: nothing to follow. Of other options only their effect on
 * the environment matters, and it is not worth knowing them all: any of them is refused.
 */
static int env_target(char *words, char **name, struct err *err)
{
	char *save = NULL;

	*name = NULL;
	for (char *w = strtok_r(words, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		if (strcmp(w, "-S") == 0)
			continue;
		if (strncmp(w, "-S", 2) == 0)
			w += 2;
		if (*w == '-' || strncmp(w, "LD_PRELOAD=", 11) == 0)
			return cli_err(err, EINVAL, "is a script for env %s, which may take the shim out of its environment: name the interpreter itself",
			               TEXT(w, strlen(w)));
		if (strchr(w, '='))
			continue;
		*name = w;
		break;
	}
	return 0;
}

static int check_program(const char *path, int depth, struct err *err);

static int check_by_name(const char *name, int depth, struct err *err)
{
	char path[PATH_MAX];

	if (run_find(name, path) != 0)
		return cli_err(err, ENOENT, "is a script for %s, which cannot be run", TEXT(name, strlen(name)));
	if (check_program(path, depth + 1, err) == 0)
		return 0;
	/* Say what it is about: not the script that the user called, but what that is run by. */
	char text[sizeof err->text];
	memcpy(text, err->text, sizeof text);
	snprintf(err->text, sizeof err->text, "is run by %.200s, which %.240s", TEXT(path, strlen(path)), text);
	return -1;
}

static int check_script(char *line, int depth, struct err *err)
{
	char *name;

	line[strcspn(line, "\n")] = '\0';
	line += strspn(line, " \t");
	char *rest = line + strcspn(line, " \t");
	if (*rest)
		*rest++ = '\0';
	if (!*line)
		return cli_err(err, ENOEXEC, "is a script without an interpreter's name");
	if (depth >= SCRIPTS_MAX)
		return cli_err(err, ELOOP, "is a script for a script for a script: too deep");
	if (check_by_name(line, depth, err) < 0)
		return -1;
	const char *base = strrchr(line, '/');
	if (strcmp(base ? base + 1 : line, "env") != 0)
		return 0;
	if (env_target(rest, &name, err) < 0)
		return -1;
	return name ? check_by_name(name, depth, err) : 0;
}

static int check_program(const char *path, int depth, struct err *err)
{
	char head[LINE_MAX_KERNEL + 1] = { 0 };
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), ret;

	if (fd < 0)
		return cli_err(err, errno, "cannot be read, so nobody can tell whether the shim would be loaded: %s", strerrordesc_np(errno));
	ssize_t n = pread(fd, head, LINE_MAX_KERNEL, 0);
	if (n < 0 || fstat(fd, &st) < 0)
		ret = err_sys(err, errno, "cannot be read");
	else if (n >= 4 && memcmp(head, ELFMAG, SELFMAG) == 0)
		ret = check_elf(fd, &st, err);
	else if (n >= 2 && head[0] == '#' && head[1] == '!')
		ret = check_script(head + 2, depth, err);
	else
		ret = check_by_name("/bin/sh", depth < SCRIPTS_MAX ? depth : SCRIPTS_MAX, err); /* as execvp() does with it */
	close(fd);
	return ret;
}

int run_check_program(const char *path, struct err *err)
{
	return check_program(path, 0, err);
}

/* A file cut short would kill the loader with SIGBUS. */
static int check_segments(int fd, const Elf64_Ehdr *eh, const struct stat *st, struct err *err)
{
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr ph;
		if (pread(fd, &ph, sizeof ph, (off_t)(eh->e_phoff + i * sizeof ph)) != (ssize_t)sizeof ph || ph.p_offset > (uint64_t)st->st_size ||
		    ph.p_filesz > (uint64_t)st->st_size - ph.p_offset)
			return cli_err(err, ENOEXEC, "the shim is cut short: install it again (make install)");
	}
	return 0;
}

int run_check_shim(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret = -1;
	struct stat st;
	Elf64_Ehdr eh;

	if (fd < 0)
		return err_sys(err, errno, "the shim cannot be read");
	if (fstat(fd, &st) < 0)
		err_sys(err, errno, "the shim cannot be read");
	else if (!S_ISREG(st.st_mode) || pread(fd, &eh, sizeof eh, 0) != (ssize_t)sizeof eh || memcmp(eh.e_ident, ELFMAG, SELFMAG) != 0 ||
	         eh.e_type != ET_DYN)
		cli_err(err, ENOEXEC, "the shim is not a shared object: install it again (make install)");
	else if (check_ident(eh.e_ident, eh.e_machine, err) == 0)
		ret = check_segments(fd, &eh, &st, err);
	close(fd);
	return ret;
}

int run_find_shim(char path[PATH_MAX], struct err *err)
{
	static const char *const places[] = { "%s/libctshim.so", "%s/../lib/libctshim.so", CT_LIBDIR "/libctshim.so" };
	char own[PATH_MAX], place[PATH_MAX + 32];

	if (run_own_folder(own, err) < 0)
		return -1;
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
		const char *percent = strstr(places[i], "%s");
		snprintf(place, sizeof place, "%s%s", percent ? own : places[i], percent ? percent + 2 : "");
		if (!realpath(place, path))
			continue;
		if (strpbrk(path, " :"))
			return cli_err(err, EINVAL, "%s: LD_PRELOAD cannot hold a path with a space or a colon: install ct elsewhere",
			               TEXT(path, strlen(path)));
		return run_check_shim(path, err);
	}
	return cli_err(err, ENOENT, "libctshim.so is neither beside ct nor in %s: install it again (make install)", CT_LIBDIR);
}
