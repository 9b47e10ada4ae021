"""Secrets in the memory of others: python3 scan.py KEYS PID|CORE…

Looks for the master keys of the JWK set KEYS in all of a process's memory (as root: /proc/PID/mem, every mapping that can be read), or in a core file:
the raw bytes and each 16 of them, base64 and base64url, hexadecimal. Prints a line "KID WHAT n" for each that is there, in the end
"scanned N bytes of M mappings". `--data-keys FILE`: FILE's data keys instead (judge.py unwraps them).
"""
import base64
import json
import re
import sys

import judge


def patterns(name, key):
    yield name, "raw", key
    for at in range(0, len(key), 16):
        yield name, f"bytes {at} to {at + 15}", key[at:at + 16]
    yield name, "base64", base64.b64encode(key).rstrip(b"=")
    yield name, "base64url", base64.urlsafe_b64encode(key).rstrip(b"=")
    yield name, "hex", key.hex().encode()
    yield name, "HEX", key.hex().upper().encode()


def pieces(where):
    """(bytes) of each mapping, read whole; or of a core file."""
    if not where.isdigit():
        with open(where, "rb") as f:
            yield f.read()
        return
    with open(f"/proc/{where}/maps") as maps, open(f"/proc/{where}/mem", "rb", 0) as mem:
        for line in maps:
            a, b, mode = re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line).groups()
            if mode[0] != "r":
                continue
            at, end, got = int(a, 16), int(b, 16), []
            while at < end:
                try:
                    mem.seek(at)
                    part = mem.read(min(1 << 22, end - at))
                except (OSError, ValueError):  # vsyscall, pages past a file's end
                    part = b""
                if not part:
                    at += 4096 - at % 4096
                    continue
                got.append(part)
                at += len(part)
            yield b"".join(got)


def main(argv):
    data = None
    if argv[0] == "--data-keys":
        data = argv[1]
        argv = argv[2:]
    keys = json.load(open(argv[0]))
    if data:
        wanted = [p for n, k in judge.data_keys(open(data, "rb").read(), keys).items() for p in patterns(n, k)]
    else:
        wanted = [p for k in keys["keys"] if k["kty"] == "oct" for p in patterns(k["kid"], base64.b64decode(k["k"]))]
    assert wanted
    total = mappings = 0
    found = {}
    for where in argv[1:]:
        for piece in pieces(where):
            total += len(piece)
            mappings += 1
            for name, what, p in wanted:
                n = piece.count(p)
                if n:
                    found[name, what] = found.get((name, what), 0) + n
    for (name, what), n in found.items():
        print(name, what, n)
    print(f"scanned {total} bytes of {mappings} mappings")


main(sys.argv[1:])
