"""json_judge.py TEST_JSON [COUNT]: Python's json is the judge of lib/json.c.

COUNT objects (seeded), most of them damaged in a place or two, go through `test_json -`. Both must accept the same ones and read the same
content out of them, duplicate keys included. Known and wanted differences are taken out beforehand: Python knows NaN and Infinity, and
lets lone surrogates pass.
"""
import json
import random
import struct
import subprocess
import sys

ALPHABET = '{}[]:,"\\ \t\n\r0123456789.eE+-truefalsnbu/\'\x00\x01\x7f\u00e9\u4e2d\U0001f600dcDC8'


def value(r, depth):
    kind = r.randrange(8 if depth < 5 else 6)
    if kind == 0:
        return r.choice([True, False, None])
    if kind == 1:
        return r.choice([0, -1, 3, 10**20, 2**64, -5])
    if kind == 2:
        return r.choice([0.5, -1e300, 1e-7])
    if kind < 6:
        return "".join(r.choice(ALPHABET + "abc") for _ in range(r.randrange(6)))
    if kind == 6:
        return [value(r, depth + 1) for _ in range(r.randrange(4))]
    return {str(r.randrange(5)) + "k" * r.randrange(3): value(r, depth + 1) for _ in range(r.randrange(4))}


def document(r):
    text = json.dumps({str(i): value(r, 0) for i in range(r.randrange(5))}, ensure_ascii=r.random() < 0.5,
                      indent=r.choice([None, None, 1]), separators=r.choice([None, (",", ":")]))
    raw = bytearray(text.encode())
    for _ in range(r.choice([0, 1, 1, 1, 2, 3])):
        at = r.randrange(len(raw) + 1)
        how = r.randrange(4)
        if how == 0:
            raw[at:at] = r.choice(ALPHABET).encode()
        elif how == 1:
            del raw[at:at + r.randrange(1, 3)]
        elif how == 2 and at < len(raw):
            raw[at] = r.randrange(256)
        else:
            raw[at:at] = raw[r.randrange(at + 1):][:r.randrange(8)]
    return bytes(raw)


class Number(str):
    pass


def refuse(what):
    raise ValueError(what)


def dump(v):
    if isinstance(v, tuple):
        return "{" + "".join(f"{dump(k)}:{dump(x)}," for k, x in v) + "}"
    if isinstance(v, list):
        return "[" + "".join(dump(x) + "," for x in v) + "]"
    if isinstance(v, Number):
        return "p" + v
    if isinstance(v, str):
        return "s" + v.encode().hex()
    return "p" + {True: "true", False: "false", None: "null"}[v]


def judged(raw):
    try:
        v = json.loads(raw.decode(), object_pairs_hook=tuple, parse_int=Number, parse_float=Number, parse_constant=refuse)
        return dump(v) if isinstance(v, tuple) else "-"
    except (ValueError, UnicodeEncodeError):
        return "-"


def main():
    count = int((sys.argv + ["30000"])[2])
    r = random.Random(20)
    docs = [document(r) for _ in range(count)]
    out = subprocess.run([sys.argv[1], "-"], input=b"".join(struct.pack("<I", len(d)) + d for d in docs), check=True,
                         capture_output=True).stdout.decode().splitlines()
    assert len(out) == count, (len(out), count)
    bad = [(d, want, got) for d, got in zip(docs, out) if (want := judged(d)) != got]
    for d, want, got in bad[:10]:
        print(f"{d!r}\n  Python: {want}\n  ours:   {got}")
    accepted = sum(g != "-" for g in out)
    assert count // 5 < accepted < count * 4 // 5, accepted
    print(f"{count} documents, {accepted} accepted, {len(bad)} verdicts differ")
    return 1 if bad else 0


sys.exit(main())
