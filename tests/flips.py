"""flips.py WHAT…: a changed byte anywhere in a file gives the right bytes or an error, never a wrong byte.

  make FOLDER             what the others need: the files of ct's own, keys
  verify FOLDER           ct verify, every byte of every small file
  decrypt FOLDER          ct decrypt, every byte of one small file
  served FOLDER [data]    under the preload, every byte of every small file, or of its data: read, pread, both kinds of mapping (probes/flips)
  big FOLDER NAME COUNT   the same, COUNT random bytes of a file that make wrote

What must come of a change is worked out here from docs/FORMAT.md ("What nobody authenticates") and tests/judge.py. Needs BUILD and,
for the last two, PRELOAD and an agent with `keep 0` at CT_AGENT_SOCK; METHOD there names the method by which mappings must be filled. Prints each deviation, and a line with what was tried. Exit status 1
after any deviation.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile

import judge

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE / "vectors"
BUILD = pathlib.Path(os.environ["BUILD"])
CT = str(BUILD / "ct")
PAGE = os.sysconf("SC_PAGESIZE")
WHITE = b" \t\n\r"
SIGNS = [k.encode() for k in judge.CRYPTO_KEYS] + [b"\\u"]
COPIES = 16

# file: a vector, or one that make writes; key set; every bit of a byte in the header, or one of the eight
SMALL = [
    ("aes128gcm_v1_cdefault", "aes128gcm.jwk", False),
    ("aes256gcm_v2_c7", "aes256gcm.jwk", False),
    ("chacha20poly1305_v2_c16", "chacha20poly1305.jwk", False),
    ("empty_among_others", "chacha20poly1305.jwk", False),
    ("partial", "aes256gcm.jwk", False),                                   # a plain tensor without digests
    ("mut_unknown_field_in_tensorinfo_unsigned", "aes256gcm.jwk", True),   # spellings that the signature does not cover
    ("ct_spelled", "aes256gcm.jwk", True),
    ("ct_v1", "aes256gcm.jwk", False),
    ("ct_partial", "aes256gcm.jwk", False),                                # plain tensors with digests
    ("ct_digests", "aes256gcm.jwk", False),                                # encrypted ones with digests, too
    ("ct_digests_v1", "aes256gcm.jwk", False),
]
OWN = {
    "ct_v1": ["--format-version", "1"],
    "ct_spelled": ["--chunk-size", "40"],
    "ct_partial": ["--chunk-size", "20", "--tensors", "!a"],
    "ct_digests": ["--chunk-size", "20", "--tensors", "!a", "--digests"],
    "ct_digests_v1": ["--format-version", "1", "--digests"],
}
VERIFIED = "ct_digests", "ct_digests_v1"  # without a master key as well
DECRYPTED = "aes256gcm_v2_c7"
# file: key set, bytes of its tensors, options of ct encrypt. All with the default reserve: 4 KiB of padding and more.
BIG = {
    "big_v2": ("aes256gcm.jwk", 3 << 20, ["--chunk-size", "65536", "--tensors", "!plain"]),
    "big_v1": ("aes256gcm.jwk", 5 << 20, ["--format-version", "1", "--tensors", "!plain"]),  # checked piece by piece (lib/big.h)
}

deviations = []


def wrong(text):
    deviations.append(text)


# ---- what must come of it ----

def once(items):
    """For json.loads: no member twice."""
    d = dict(items)
    if len(d) != len(items):
        raise ValueError("a member is there twice")
    return d


def plain_number(digits):
    if digits[0] == "-":
        raise ValueError("a negative number")
    return int(digits)


def content(raw):
    """What of a header is signed, with the signature: (metadata, tensors by offset). ValueError: malformed."""
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n].decode(), object_pairs_hook=once, parse_int=plain_number, parse_constant=plain_number)
    meta, tensors = head.pop("__metadata__", {}), []
    for name, t in head.items():
        dtype, shape, offsets = t if isinstance(t, list) else (t["dtype"], t["shape"], t["data_offsets"])
        dtype = list(dtype)[0] if isinstance(dtype, dict) and list(dtype.values()) == [None] else dtype
        if not isinstance(dtype, str) or not all(type(v) is int for v in (*shape, *offsets)):
            raise ValueError("not a tensor")
        begin, end = offsets
        name.encode()  # a lone surrogate is an error here
        tensors.append((name, dtype, tuple(shape), begin, end))
    if any(not isinstance(v, str) for v in meta.values()) or max((t[4] for t in tensors), default=0) + 8 + n != len(raw):
        raise ValueError("not metadata, or not the file's size")
    return meta, sorted(tensors, key=lambda t: t[3:])


def same_content(raw, want):
    try:
        return content(raw) == want
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return False


def passes(raw):
    """No safetensors file by its first bytes (docs/FORMAT.md, "What is taken for a file"): served as it lies."""
    n = struct.unpack("<Q", raw[:8])[0]
    return (n < 2 or n > 100_000_000 or 8 + n > len(raw) or raw[8] not in b"{\xef" + WHITE or
            not any(sign in raw[8:8 + n] for sign in SIGNS))


class Model:
    def __init__(self, folder, name, keys):
        folder = pathlib.Path(folder)
        self.name, self.keys = name, str(folder / keys)
        self.path = folder / f"{name}.safetensors"
        self.raw = self.path.read_bytes()
        self.view, bad = judge.view(self.raw, json.loads(pathlib.Path(self.keys).read_text()))
        assert not bad and run_ct("verify", "--keys", self.keys, str(self.path)).returncode == 0, f"{name} is not good to begin with"
        self.data = 8 + struct.unpack("<Q", self.raw[:8])[0]
        self.text = 8 + len(self.raw[8:self.data].rstrip(WHITE))  # the header without its padding
        self.content = content(self.raw)
        self.chunks = sorted(c[2:] for c in judge.chunks(self.raw))
        self.view_path = folder / f"{name}.view"
        self.view_path.write_bytes(self.view)

    def changed(self, at, new):
        return self.raw[:at] + bytes((new,)) + self.raw[at + 1:]

    def outcome(self, at, new):
        """("open", None); ("opens", (damaged ranges, {offset: wrong byte})); ("passes", None)"""
        if at < self.data:
            raw = self.changed(at, new)
            return "passes" if passes(raw) else "opens" if same_content(raw, self.content) else "refused", [], []
        bad = [(a, b) for a, b in self.chunks if a <= at < b]
        # docs/FORMAT.md, "What nobody authenticates": plain tensors without digests
        return "opens", bad, [] if bad else [at]

    def mutants(self, every_bit):
        """[(offset, new value)] for every byte of the file."""
        rng, out = random.Random(self.name), []
        for at, old in enumerate(self.raw):
            new = {old ^ 0xff, old ^ 1 << rng.randrange(8)}
            if at < self.data:
                new |= {old ^ 1 << i for i in range(8)} | set(WHITE) if every_bit else set()
                new |= set(WHITE) if old in WHITE else set()
            out += [(at, x) for x in sorted(new - {old})]
        return out


def add(runs, begin, end, what):
    if begin == end:
        return
    if runs and runs[-1][1] == begin and runs[-1][2] == what:
        runs[-1][1] = end
    else:
        runs.append([begin, end, what])


def expected(model, way, ranges, bad, odd):
    """What probes/flips must print for the way. odd: places of wrong bytes that must be seen."""
    size, runs = len(model.raw), []
    first_bad = min((a for a, _ in bad), default=size)
    if way == "read":
        for at in odd:
            if at < first_bad:
                add(runs, at, at + 1, "wrong")
        add(runs, first_bad, size, "EIO")
    elif way == "pread":
        for begin, end in ranges or [(i, i + 1) for i in range(size)]:
            stop = min((max(a, begin) for a, b in bad if a < end and begin < b), default=end)
            for at in odd:
                if begin <= at < stop:
                    add(runs, at, at + 1, "wrong")
            add(runs, stop, end, "EIO")
    else:
        for begin, end in ranges or [(0, size)]:
            for page in range(begin // PAGE * PAGE, end, PAGE):
                stop = min(page + PAGE, size)
                if any(a < stop and page < b for a, b in bad):
                    add(runs, page, stop, "BUS")
                    continue
                for at in odd:
                    if page <= at < stop:
                        add(runs, at, at + 1, "wrong")
    return [f"{a}-{b}:{what}" for a, b, what in runs]


# ---- ct ----

def run_ct(*args):
    return subprocess.run([CT, *args], capture_output=True, text=True, errors="replace", timeout=600)


def check_opening(model, opened):
    """Where the header has its one spelling, all that may change in it is the white space of its padding."""
    if judge.canonical(*model.content, ()) == model.raw[8:model.text]:
        want = {(at, x) for at in range(model.text, model.data) for x in WHITE if x != model.raw[at]}
        if opened != want:
            wrong(f"{model.name}: headers that open differ from the document's rule in {sorted(opened ^ want)[:20]}")
    elif not opened:
        wrong(f"{model.name}: no change of an unsigned spelling opens: the file is not what it is here for")


def verify_one(model, keys, every_bit, title):
    """Every mutant is a file in a folder; a line of JSON each."""
    mutants, said, opened = model.mutants(every_bit), {}, set()
    with tempfile.TemporaryDirectory(dir=model.path.parent) as tmp:
        for at, new in mutants:
            (pathlib.Path(tmp) / f"{at}-{new}.safetensors").write_bytes(model.changed(at, new))
        r = run_ct("verify", "--json", "-j", "2", "--keys", keys, tmp)
    for line in r.stdout.splitlines():
        x = json.loads(line)
        said[tuple(map(int, pathlib.Path(x["file"]).stem.split("-")))] = x
    if r.returncode != 1 or said.keys() != set(mutants):
        return wrong(f"{title}: status {r.returncode}, {len(said)} lines for {len(mutants)} files: {r.stderr[-500:]}")
    for at, new in mutants:
        (what, bad, _), x = model.outcome(at, new), said[at, new]
        got = "ok" if x["ok"] else x["error"]
        want = ("EIO",) if bad else ("ok",) if what == "opens" else ("EBADMSG", "ENOKEY", "EPERM")
        if got not in want or [[f["begin"], f["end"]] for f in x.get("faults", [])] != [list(c) for c in bad]:
            wrong(f"{title}: byte {at} -> {new}: {x}, should be {'/'.join(want)} {bad}")
        if at < model.data and got == "ok":
            opened.add((at, new))
    check_opening(model, opened)
    print(f"{title}: {len(mutants)} changes, {len(opened)} in the header that open", flush=True)


def verify(folder):
    for name, keys, every_bit in SMALL:
        model = Model(folder, name, keys)
        verify_one(model, model.keys, every_bit, f"ct verify, {name}")
        if name in VERIFIED:
            verify_one(model, f"{folder}/{keys}.verifier", False, f"ct verify without a master key, {name}")


def decrypt_some(model, mutants):
    with tempfile.TemporaryDirectory(dir=model.path.parent) as tmp:
        mutant, out = pathlib.Path(tmp) / "m.safetensors", pathlib.Path(tmp) / "out"
        for at, new in mutants:
            mutant.write_bytes(model.changed(at, new))
            r, (what, bad, _) = run_ct("decrypt", "-j", "1", "--keys", model.keys, str(mutant), str(out)), model.outcome(at, new)
            if what == "opens" and not bad:
                if r.returncode or out.read_bytes() != model.view:
                    wrong(f"ct decrypt: byte {at} -> {new}: status {r.returncode}, or wrong bytes: {r.stderr}")
            elif r.returncode != 3 or out.exists() or (": EIO: " in r.stderr) != bool(bad):
                wrong(f"ct decrypt: byte {at} -> {new}: status {r.returncode}, output {out.exists()}: {r.stderr}")
            out.unlink(missing_ok=True)
        if [p.name for p in pathlib.Path(tmp).iterdir()] != ["m.safetensors"]:
            wrong("ct decrypt: something is left")


def decrypt(folder):
    model = Model(folder, DECRYPTED, dict((n, k) for n, k, _ in SMALL)[DECRYPTED])
    mutants = model.mutants(False)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:  # each waits for the disk, and for a tick of the clock, most of the time
        list(pool.map(lambda i: decrypt_some(model, mutants[i::6]), range(6)))
    print(f"ct decrypt, {model.name}: {len(mutants)} changes")


# ---- under the preload ----

def probe(model, mutants):
    """mutants: [(offset, new, ranges or None, whole)]. Runs probes/flips on a copy and compares."""
    with tempfile.TemporaryDirectory(dir=model.path.parent) as tmp:
        copies, stats = [f"{tmp}/{i}.safetensors" for i in range(COPIES)], pathlib.Path(tmp) / "stats"
        for copy in copies:
            shutil.copy(model.path, copy)
        text = "".join(f"{at} {model.raw[at]} {new} {' '.join(f'{a}-{b}' for a, b in ranges or ())}{' *' * whole}\n"
                       for at, new, ranges, whole in mutants)
        env = dict(os.environ, LD_PRELOAD=os.environ["PRELOAD"], CTSHIM_STATS=str(stats), CTSHIM_LOG_FILE=str(pathlib.Path(tmp) / "log"))
        if "ASAN_HOST_OPTIONS" in env:
            env["ASAN_OPTIONS"] = env["ASAN_HOST_OPTIONS"]
        r = subprocess.run([str(BUILD / "probes/flips"), str(model.view_path), *copies], input=text, env=env, capture_output=True,
                           text=True, timeout=1200)
        seen = json.loads(stats.read_text())
        if seen["method"] != os.environ.get("METHOD", seen["method"]):
            wrong(f"mappings are filled by {seen['method']}")
        if any(pathlib.Path(copy).read_bytes() != model.raw for copy in copies):
            wrong(f"{model.name}: the files are not what they were")
    lines, opened, counts = iter(r.stdout.splitlines()), set(), {"refused": 0, "passes": 0, "opens": 0}
    for at, new, ranges, whole in mutants:
        (what, bad, odd), here = model.outcome(at, new), f"{model.name}: byte {at} -> {new}"
        counts[what] += 1
        got = next(lines, "end of the output").split(" ")
        if what == "refused":
            if got not in ([str(at), str(new), f"open:{e}"] for e in ("EBADMSG", "ENOKEY")):
                return wrong(f"{here} must not open, and gives {got}; {r.returncode} {r.stderr[-300:]}")
            continue
        if what == "passes":
            odd = [i for i, x in enumerate(model.changed(at, new)) if x != model.view[i]]
        for way in ("read", "pread", "private", "shared") if whole or not ranges else ("pread", "private", "shared"):
            want = [str(at), str(new), way, *expected(model, way, ranges, bad, odd)]
            if got != want:
                return wrong(f"{here}: {' '.join(got)[:500]}\n  instead of {' '.join(want)[:500]}; {r.returncode} {r.stderr[-300:]}")
            got = next(lines, "end of the output").split(" ") if way != "shared" else None
        if at < model.data and what == "opens":
            opened.add((at, new))
    if r.returncode or next(lines, None) is not None:
        wrong(f"{model.name}: status {r.returncode}, or more lines than changes: {r.stderr[-500:]}")
    # Every file that opened was a new one for the shim: nothing came out of a view of what the file was before.
    if seen["agent_requests"] < counts["opens"]:
        wrong(f"{model.name}: the agent was asked {seen['agent_requests']} times for {counts['opens']} files")
    print(f"served, {model.name}: {len(mutants)} changes: {counts}", flush=True)
    return opened


def served(folder, part="all"):
    for name, keys, every_bit in SMALL:
        model = Model(folder, name, keys)
        switch_keys(model.keys)
        around = {at: [(0, len(model.raw)), (max(at - 1, 0), at), (at, at + 1), (at + 1, at + 2)] for at in range(model.data)}
        # A changed header is read whole and around the byte; with changed data every byte by itself.
        mutants = [(at, new, around.get(at), True) for at, new in model.mutants(every_bit) if part == "all" or at >= model.data]
        opened = probe(model, mutants)
        if opened is not None and part == "all":
            check_opening(model, opened)


def big(folder, name, count):
    rng, mutants, count = random.Random(name), [], int(count)
    model = Model(folder, name, BIG[name][0])
    switch_keys(model.keys)
    chunks = model.chunks
    for i in range(count):
        at = rng.randrange(model.data if i % 5 == 0 else len(model.raw))
        new = rng.choice([x for x in (WHITE if model.text <= at < model.data and i % 2 else range(256)) if x != model.raw[at]])
        touched = [c for c in chunks if c[0] <= at < c[1]]
        ranges = {(0, model.data), rng.choice(chunks), *touched}
        for a, b in touched:
            ranges |= {(a - 1, a), (b - 1, min(b + 1, len(model.raw)))}
        # Of a chunk that is too big to keep, a part that is read costs all of it: some are enough, one with the changed byte among them.
        ranges = {(a, b) if b - a < 1 << 22 else (a + 1, a + 70000) for a, b in ranges} | {(at, at + 1)}
        mutants.append((at, new, sorted(ranges), i % 50 == 0))
    if probe(model, mutants) is not None and len({at for at, *_ in mutants}) < count * 0.8:
        wrong(f"{name}: too few places")


def switch_keys(keys):
    """The agent has the keys of this set alone."""
    for args in (["remove", "--all"], ["add", keys]):
        r = run_ct(*args)
        if r.returncode:
            sys.exit(f"ct {' '.join(args)}: status {r.returncode}: {r.stderr}")


# ---- the files ----

def plain_file(path, sizes):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, n in sizes:
        head[name] = {"dtype": "U8", "shape": [n], "data_offsets": [at, at + n]}
        at += n
    h = judge.text(head).encode()
    path.write_bytes(struct.pack("<Q", len(h)) + h + b"".join(hashlib.shake_256(name.encode()).digest(n) for name, n in sizes))


def spelled(raw):
    """The same file with a header in another spelling, all of which is unsigned."""
    n = struct.unpack("<Q", raw[:8])[0]
    h = raw[8:8 + n].rstrip().decode()
    h = h.replace('"\u00e9":{"dtype":"U8"', '\t"\\u00e9" : {"more":[true,{"x":"y"}],"dtype":{"U8":null}').replace('"pt"', '"\\u0070t"')
    h = h.replace('"none":{"dtype":"U8","shape":[0],"data_offsets":[50,50]}', '"none":[ "U8",[0],[50,50] ]')
    h = (" " + h + "\n").encode()
    return struct.pack("<Q", len(h)) + h + raw[8 + n:]


def make(folder):
    folder = pathlib.Path(folder)
    for key in (VECTORS / "keys").glob("*.jwk"):
        shutil.copy(key, folder)
        os.chmod(folder / key.name, 0o600)
    for name, *_ in SMALL:
        if not name.startswith("ct_"):
            shutil.copy(VECTORS / f"{name}.safetensors", folder)
    if run_ct("keygen", "-q", "--from", str(folder / "aes256gcm.jwk"), "--verifier", str(folder / "aes256gcm.jwk.verifier")).returncode:
        sys.exit("ct keygen --verifier")
    plain = folder / "plain"
    plain_file(plain, [("a", 50), ("none", 0), ("\u00e9", 33)])
    for name, options in OWN.items():
        encrypt(folder, name, "aes256gcm.jwk", ["--header-reserve", "0", *options])
    (folder / "ct_spelled.safetensors").write_bytes(spelled((folder / "ct_spelled.safetensors").read_bytes()))
    for name, (keys, size, options) in BIG.items():
        plain_file(plain, [("first", 1000), ("body", size - 301000), ("plain", 200000), ("tail", 100000)])
        encrypt(folder, name, keys, options)


def encrypt(folder, name, keys, options):
    r = run_ct("encrypt", "-q", "--keys", str(folder / keys), *options, str(folder / "plain"), str(folder / f"{name}.safetensors"))
    if r.returncode:
        sys.exit(r.stderr)


def main(what, *args):
    {"make": make, "verify": verify, "decrypt": decrypt, "served": served, "big": big}[what](*args)
    for d in deviations[:20]:
        print(d)
    if len(deviations) > 20:
        print(f"… and {len(deviations) - 20} more")
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
