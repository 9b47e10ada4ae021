"""doors_libc.py: the functions of this machine's libc that are handed a descriptor, a path, a stream or a folder: whatever could read a file.

Prints a line "NAME" each, sorted. Found in two ways: the prototypes of all of libc's headers (a parameter's name or type says what it is), and,
since not every name that libc exports is declared, what it exports at the same address, or under the name of one of those with the usual
prefixes and suffixes (__NAME, _IO_NAME, __NAME_chk, NAME64 …). Names that only libc's own parts may be bound to (GLIBC_PRIVATE) are left out.
"""
import re
import subprocess
import sys

TAKES = re.compile(r"\b(__)?(\w*fd\w*|fildes|path|path2|file|filename|fname|name|old|new|from|to|oldpath|newpath|stream|fp|dirp|aiocbp?|pidfd)\b|\bFILE\b|\bDIR\b"
                   r"|\baiocb(64)?\b|\bsockaddr\b|\bmsghdr\b|\bmmsghdr\b|\b__sock\b")
ATTRIBUTES = re.compile(r"__attribute__\s*\(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)\)|__asm__\s*\([^)]*\)")
PROTOTYPE = re.compile(r"(?<![^;}])[\w\s*]*?[\s*](\w+)\s*\(((?:[^()]|\([^()]*\))*)\)[^;{}()]*(?=;)")
PREFIX = re.compile(r"^(__libc_|__isoc\d+_|_IO_|__|_)")
SUFFIX = re.compile(r"(_chk|_2|64|v2|_unlocked|_l|_r)+$")


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, **more)


def headers():
    for path in run("dpkg", "-L", "libc6-dev", check=True).stdout.split():
        if path.startswith("/usr/include/") and path.endswith(".h") and not re.search(r"/(bits|asm|asm-generic|linux|gnu|finclude)/", path):
            yield path


def declared():
    """{name: parameters} of every function that some header declares."""
    found, used = {}, 0
    for header in headers():
        text = run("gcc", "-E", "-P", "-D_GNU_SOURCE", "-D_FORTIFY_SOURCE=2", "-O2", "-xc", "-", input=f"#include <{header}>\n")
        if text.returncode == 0: # some refuse to be included
            used += 1
            for name, parameters in PROTOTYPE.findall(ATTRIBUTES.sub("", text.stdout)):
                found.setdefault(name, parameters)
    if used < 100 or len(found) < 1500:
        sys.exit(f"only {used} headers with {len(found)} functions were understood")
    return found


def exported():
    """[(name, address)] of libc's functions."""
    libc = run("gcc", "-print-file-name=libc.so.6", check=True).stdout.strip()
    for line in run("nm", "-D", "--defined-only", libc, check=True).stdout.splitlines():
        address, kind, name = line.split()
        if kind in "TWi" and "GLIBC_PRIVATE" not in name:
            yield name.split("@")[0], address


def bare(name):
    return SUFFIX.sub("", PREFIX.sub("", name))


def main():
    names = list(exported())
    takes = {n for n, parameters in declared().items() if TAKES.search(parameters)} & {n for n, _ in names}
    addresses = {a for n, a in names if n in takes}
    bases = {bare(n) for n in takes}
    for name in sorted({n for n, a in names if n in takes or a in addresses or (n.startswith("_") and bare(n) in bases)}):
        print(name)


main()
