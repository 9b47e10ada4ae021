"""lazy_judge.py COMMAND…: what the probes of tests/lazy.bats must say.

  model PATH BYTES             writes a plain model: big and odd tensors with many small ones between them, about BYTES long
  layers PATH                  writes a plain model of twelve tensors of 40,000 bytes and a few, and an empty one at its end
  firsts FILE                  the offsets of the tensors' first bytes
  compare METHOD WANT GOT      GOT (a probe's lines under the shim) must say what WANT (the same on the plain file) says, but for what
                               lazy_exceptions.txt states for the METHOD
  chunks FILE [PAGES…]         number of chunks with a byte on these pages ("5", "5-9", none: all), from FILE's header alone
  scattered FILE SEED          pages to touch, no two in sequence: random ones, and both sides of some chunks' borders
  damage FILE OUT WHERE        OUT: FILE with one byte flipped in the chunk WHERE (first, middle, small, last); prints
                               "FROM TO TENSOR CHUNK", the pages FROM to TO - 1 being those that must raise SIGBUS
  damaged FILE FROM TO         what lazy_damage must print
"""
import collections
import fnmatch
import hashlib
import json
import os
import pathlib
import random
import re
import struct
import sys

import judge

PAGE = os.sysconf("SC_PAGESIZE")


def write(path, tensors):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, n in tensors:
        head[name] = {"dtype": "U8", "shape": [n], "data_offsets": [at, at + n]}
        at += n
    h = json.dumps(head, ensure_ascii=False).encode()
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)) + h)
        for name, n in tensors:
            f.write(hashlib.shake_256(name.encode()).digest(n))


def model(path, size):
    size = int(size)
    tensors = [("a.big", size // 3), ("b.odd", 33333)]
    tensors += [(f"c.small.{i}", 1 + i * 7919 % 3001) for i in range(60)]
    write(path, tensors + [("d.none", 0), ("e.big", size // 2 + 1), ("f.\u00e9\u4e2d", 7), ("g.mid", size // 6 + 777)])


def layers(path):
    write(path, [(f"layer.{i:02}", 40000 + i) for i in range(12)] + [("none", 0)])


def firsts(path):
    head = header(path)
    return [len(head) + t["data_offsets"][0] for name, t in json.loads(head[8:]).items() if name != "__metadata__"]


def lines(path):
    """{(name, how many of this name came before): text}"""
    seen, out = collections.Counter(), {}
    for l in open(path).read().splitlines():
        name, _, text = l.partition(" ")
        out[name, seen[name]] = text
        seen[name] += 1
    return out


def exceptions(method):
    for l in (pathlib.Path(__file__).parent / "lazy_exceptions.txt").read_text().splitlines():
        if l.strip() and not l.startswith("#"):
            methods, name, text = l.split(None, 2)
            if method in methods.split(","):
                yield name, text


def compare(method, want, got):
    want, got, bad = lines(want), lines(got), 0
    allowed = list(exceptions(method))
    for key in sorted(want.keys() | got.keys()):
        fits = [text for name, text in allowed if fnmatch.fnmatchcase(key[0], name)]
        w, g = want.get(key), got.get(key)
        if w is not None and re.search(r"\bwrong\b|\blost\b", w):
            bad = print(f"{key[0]}: even the plain file gives: {w}") or bad + 1
        if w == g or (fits and g is None) or any(re.fullmatch(text, g or "") for text in fits):
            continue
        bad = print(f"{key[0]}: {g}\n  the plain file: {w}") or bad + 1
    if not want:
        bad = print("the probe printed nothing") or 1
    return bad


def header(path):
    with open(path, "rb") as f:
        n = f.read(8)
        return n + f.read(struct.unpack("<Q", n)[0])


def on_pages(path, ranges):
    all_of_it = judge.chunks(header(path))
    if not ranges:
        return len(all_of_it)
    pages = set()
    for r in ranges:
        first, _, last = r.partition("-")
        pages.update(range(int(first), int(last or first) + 1))
    return sum(1 for *_, a, b in all_of_it if any(p in pages for p in range(a // PAGE, (b - 1) // PAGE + 1)))


def scattered(path, seed):
    rng, pages = random.Random(int(seed)), set()
    count = (os.path.getsize(path) + PAGE - 1) // PAGE
    pages.update(rng.sample(range(count), 12))
    for *_, a, _ in rng.sample([c for c in judge.chunks(header(path)) if c[3] - c[2] > PAGE], 5):
        pages.update((a // PAGE, a // PAGE + 1, max(a // PAGE - 1, 0)))
    pages = sorted(pages)
    while True:
        rng.shuffle(pages)
        if all(abs(a - b) > 8 for a, b in zip(pages, pages[1:])):
            return pages


def damage(path, out, where):
    raw = bytearray(open(path, "rb").read())
    c = judge.chunks(raw)
    small = [x for x in c if x[0].startswith("c.small.")]
    name, i, a, b = {"first": c[0], "middle": c[len(c) // 4], "small": small[len(small) // 2], "last": c[-1]}[where]
    raw[(a + b) // 2] ^= 1
    open(out, "wb").write(raw)
    print(a // PAGE, (b - 1) // PAGE + 1, name, i)


def damaged(path, bad_from, bad_to):
    bad_from, bad_to = int(bad_from), int(bad_to)
    pages = (os.path.getsize(path) + PAGE - 1) // PAGE

    def runs(first):
        parts = ((first, min(bad_from, pages), "right"), (max(first, bad_from), bad_to, "SIGBUS"), (max(first, bad_to), pages, "right"))
        return " ".join(f"{a}-{b - 1} {text}" for a, b, text in parts if a < b)
    for kind in ("private", "shared", "writable"):
        for order in ("up", "again", "down", "neighbours-first"):
            print(f"{kind}.{order} {runs(0)}")
        print(f"{kind}.offset {runs((bad_from + bad_to) // 2)}")
    for kind in ("private", "shared", "writable"):
        print(f"threads.{kind} 8 SIGBUS a page, neighbours right, 0 others")
    for kind in ("private", "shared", "writable"):
        print(f"{kind}.write -1 EFAULT\n{kind}.writev -1 EFAULT")
        if bad_from > 0:
            print(f"{kind}.write-into-the-damage no byte of it")
        if kind == "writable":
            print(f"{kind}.read -1 EFAULT\n{kind}.store SIGBUS")
        print(f"{kind}.after-the-kernel {runs(0)}")


def main(command, *args):
    if command == "model":
        model(*args)
    elif command == "layers":
        layers(*args)
    elif command == "firsts":
        print(*firsts(*args))
    elif command == "compare":
        return compare(*args) != 0
    elif command == "chunks":
        print(on_pages(args[0], args[1:]))
    elif command == "scattered":
        print(*scattered(*args))
    elif command == "damage":
        damage(*args)
    elif command == "damaged":
        damaged(*args)
    return 0


sys.exit(main(*sys.argv[1:]))
