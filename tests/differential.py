"""differential.py SEED FOLDER WHAT…: ctshim against the reference implementation (package cryptotensors), on random files.

  theirs [N]   the package writes N files for each way of encrypting; ct verify, ct decrypt
  ours [N]     ct encrypt writes N files for each way of encrypting; the package reads
  mutants [N]  N valid headers for each kind of mutation of tests/mutants.py, as they are and signed anew: who accepts what

Needs BUILD. Whatever the two sides decide differently must be a number of the list at the end of docs/FORMAT.md that the
mutation is declared to touch, and look like that number: mutants/differences.py. Prints each deviation, the numbers met, and one
line of counts.
"""
import collections
import fnmatch
import json
import os
import pathlib
import random
import re
import struct
import subprocess
import sys

import judge
import mutants
import reference
from mutants import differences

CT = str(pathlib.Path(os.environ["BUILD"]) / "ct")
TESTS = pathlib.Path(__file__).resolve().parent
FORMAT = TESTS.parent / "docs/FORMAT.md"
ALGS = {"aes256gcm": 32, "aes128gcm": 16, "chacha20poly1305": 32}
KID = "k\u00e9y/1"
BITS = {d: bits for d, bits, _ in reference.DTYPES}
THEIR_NAME = {d: name for d, _, name in reference.DTYPES if name}
CHUNKS = [1, 2, 3, 7, 16, 64, 100, 255, 4096, 65537]
TRIES = 400  # opens of a file with k adjacent empty tensors, of which the package accepts one in k!; k is at most 3
deviations, met = [], collections.Counter()

def deviation(text):
    deviations.append(text)


def check_list():
    """The list in docs/FORMAT.md has no number without a test, and this test has no number that is not on the list."""
    part = FORMAT.read_text().split("\n## Where we differ from the reference\n")[1]
    items = re.split(r"^(\d+)\. ", part, flags=re.M)[1:]
    found, text = list(map(int, items[::2])), dict(zip(map(int, items[::2]), items[1::2]))
    assert found == list(range(1, len(found) + 1)), f"the list of differences is not numbered 1 to n: {found}"
    held = {n for n in found if "[D]" in text[n]}
    used = {*differences.RULES, differences.TIE}
    assert used == held, f"marked [D] in docs/FORMAT.md: {held}, held here: {used}"
    strict = {int(x) for x in re.findall(r'^@test "(\d+): ', (TESTS / "strict.bats").read_text(), re.M)}
    for n in found:
        named = re.findall(r"tests/(\w+)", text[n])
        assert n in held or named, f"nothing holds number {n} of docs/FORMAT.md"
        assert ("strict" in named) == (n in strict), f"number {n} of docs/FORMAT.md and tests/strict.bats disagree"


# ---- key sets ----

def key_set(alg):
    """A key of each kind without a kid, then one with: files that name no kid are for the first ones."""
    rng = random.Random(alg)
    b64 = judge.base64.b64encode
    keys = []
    for kid in (None, KID):
        keys.append({"kty": "oct", "alg": alg, "k": b64(rng.randbytes(ALGS[alg])).decode()})
        d = rng.randbytes(32)
        keys.append({"kty": "okp", "alg": "ed25519", "d": b64(d).decode(), "x": b64(judge.ed25519_public(d)).decode()})
        if kid:
            keys[-2]["kid"], keys[-1]["kid"] = kid, kid + "s"
    return {"keys": keys}


def write_key_sets(folder):
    """{(alg, with kid or None for both): path}"""
    out = {}
    for alg in ALGS:
        keys = key_set(alg)["keys"]
        for kid, part in ((None, keys), (False, keys[:2]), (True, keys[2:])):
            path = folder / f"{alg}-{kid}.jwk"
            path.write_text(json.dumps({"keys": part}))
            path.chmod(0o600)
            out[alg, kid] = str(path)
    return out


# ---- random models ----

def random_name(rng):
    kind = rng.randrange(8)
    if kind == 0:
        return "".join(chr(rng.choice([*range(0x20), rng.randrange(0x80), *b'"\\/\x7f' * 8])) for _ in range(rng.randint(1, 12)))
    if kind == 1:
        planes = (0x80, 0x800), (0x800, 0xd800), (0xe000, 0x10000), (0x10000, 0x110000)
        return "".join(chr(rng.randrange(*rng.choice(planes))) for _ in range(rng.randint(1, 9)))
    if kind == 2:
        return "long." * rng.randint(20, 400)
    if kind == 3:
        return rng.choice(["", " ", "\0", "a\0b", "__x__", "__encryption__", "/", "../../etc/passwd", "\\u0041", "{", "\u2028",
                           "e\u0301", "\ufeff"])
    return f"model.layers.{rng.randrange(40)}.{rng.choice(['w', 'b', 'q', 'norm'])}.{rng.choice(['weight', 'bias'])}"


def random_size(rng, cs):
    """Bytes: at the edges of chunks, and small."""
    edge = cs if cs and cs <= 70000 else rng.choice([16, 4096])
    k = rng.choice([1, 1, 1, 2, 3, rng.randint(2, max(2, min(40, 20000 // edge)))])
    return max(0, rng.choice([0, 1, edge - 1, edge, edge + 1, k * edge - 1, k * edge, k * edge + 1, rng.randrange(300)]))


def random_shape(rng, n):
    """Dimensions whose product is n."""
    if n == 0:
        shape = [0] + [rng.randrange(4) for _ in range(rng.randrange(3))]
    else:
        shape = []
        for p in (2, 3, 5, 7):
            while n % p == 0 and rng.random() < 0.7:
                shape.append(p)
                n //= p
        shape += [n] if n > 1 or rng.random() < 0.5 else []
        shape += [1] * rng.randrange(2)
    rng.shuffle(shape)
    return shape


def random_tensor(rng, cs, dtypes):
    size = random_size(rng, cs)
    fit = [d for d in dtypes if size * 8 % BITS[d] == 0 and (d != "F4" or size)]
    dtype = rng.choice(fit)
    if dtype == "F4":  # the package counts it in bytes of two
        return dtype, random_shape(rng, size) + [2], rng.randbytes(size)
    return dtype, random_shape(rng, size * 8 // BITS[dtype]), rng.randbytes(size)


def random_model(rng, cs, dtypes, nul=True):
    """({name: (dtype, shape, data)}, user metadata); at most three empty tensors. nul: names may have one."""
    tensors, empty = {}, 0
    for _ in range(rng.choice([0, 1, 2, 3, 4, 5, 6])):
        dtype, shape, data = random_tensor(rng, cs, dtypes)
        empty += not data
        if data or empty <= 3:
            name = random_name(rng)
            tensors[name if nul else name.replace("\0", "")] = dtype, shape, data
    meta = {random_name(rng): random_name(rng) for _ in range(rng.choice([0, 0, 1, 2, 5]))}
    for name in judge.HIDDEN:
        meta.pop(name, None)
    return tensors, meta


def plain_file(tensors, meta, order):
    head, at, data = {"__metadata__": meta} if meta else {}, 0, b""
    for name in order:
        dtype, shape, part = tensors[name]
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(part)]}
        at += len(part)
        data += part
    h = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    return struct.pack("<Q", len(h)) + h + data


# ---- both sides ----

def ct(*args):
    return subprocess.run([CT, *args], capture_output=True, text=True, errors="replace", timeout=600)


def ct_verify(keys, folder):
    """{name of file: None or (errno's name, message)}"""
    r = ct("verify", "-j", "1", "--json", "--keys", keys, str(folder))
    lines = [json.loads(x) for x in r.stdout.splitlines()]
    if any("file" not in x or "ok" not in x for x in lines) or r.returncode not in (0, 1):
        sys.exit(f"ct verify: status {r.returncode}: {r.stdout[-1000:]} {r.stderr[-1000:]}")
    by_digests = "ENOKEY", "good, as far as digests tell: the master key is not there"
    verdict = [(x["error"], x["message"]) if not x["ok"] else None if "tags" in x["checked"] else by_digests for x in lines]
    return {os.path.basename(x["file"]): v for x, v in zip(lines, verdict)}


def content(raw):
    """({name: (dtype, shape, data)}, metadata) of a plain file or a view."""
    n, _, meta, tensors = judge.split(raw)
    return {name: (dtype, shape, raw[8 + n + a:8 + n + b]) for name, dtype, shape, a, b in tensors}, meta


def ct_decrypt(keys, folder, out):
    """{name of file: content}, of good files alone."""
    r = ct("decrypt", "-q", "-j", "1", "--keys", keys, str(folder), str(out))
    if r.returncode:
        sys.exit(f"ct decrypt: status {r.returncode}: {r.stderr[-1000:]}")
    found = {}
    for path in pathlib.Path(out).iterdir():
        raw = path.read_bytes()
        n, _, meta, tensors = judge.split(raw)
        try:
            canonical = judge.view_header(n, meta, tensors) == raw[8:8 + n]
        except AssertionError:
            canonical = False
        if not canonical or len(raw) != (folder / path.name).stat().st_size:
            deviation(f"{folder}/{path.name}: the decrypted file is not a view: header {raw[8:8 + n][:300]}")
        found[path.name] = content(raw)
    return found


def they_read(path, framework="pt"):
    """The package's verdict: ("ok" or "plain", content), ("open", why) or ("read", why). torch knows the most dtypes."""
    import cryptotensors
    try:
        with cryptotensors.safe_open(path, framework) as f:
            meta = (f.metadata() or {}) | (f.reserved_metadata() or {})
            for name in f.keys():
                try:
                    f.get_tensor(name)
                except cryptotensors.SafetensorError as e:
                    if "Dtype not understood" not in str(e):  # torch has not all of them
                        return "read", str(e)
                except Exception:  # torch does not like every shape
                    pass
        with open(path, "rb") as f:
            raw = f.read()
        tensors = {name: (t["dtype"], list(t["shape"]), bytes(t["data"])) for name, t in cryptotensors.deserialize(raw)}
    except KeyboardInterrupt:
        raise
    except BaseException as e:  # a panic is no Exception
        return "open", f"{type(e).__name__}: {e}"
    encrypted = "__encryption__" in meta
    if encrypted:
        hidden_error = unseen_error(raw, meta, tensors)
        if hidden_error:
            return "read", hidden_error
        meta = {k: v for k, v in meta.items() if k not in judge.HIDDEN}
    return "ok" if encrypted else "plain", (tensors, meta)


def unseen_error(raw, meta, tensors):
    """deserialize() answers with ciphertext where a tag is wrong, and get_tensor() cannot ask for every dtype."""
    entries = json.loads(meta["__encryption__"])
    for name, (dtype, _, data) in tensors.items():
        if dtype in ("F6_E2M3", "F6_E3M2") and name in entries and len(data) > 3 and data in raw:
            return f"{name}: the bytes are the file's own"
    return None


def register(alg):
    """The package wants a kid in every key; where a file names none it takes the first of the kind, as we do."""
    import cryptotensors
    cryptotensors.register_direct_key_provider(keys=[{"kid": f"first {k['kty']}"} | k for k in key_set(alg)["keys"]])


def adjacent_empties(order, tensors):
    flags = "".join(str(int(not tensors[n][2])) for n in order)
    return "11" in flags


def same(label, got, want):
    for what, g, w in (("tensors", got[0], want[0]), ("metadata", got[1], want[1])):
        if g != w:
            wrong = [k for k in sorted({*g, *w}, key=repr) if g.get(k) != w.get(k)]
            deviation(f"{label}: {what} differ in {wrong[:3]!r}: {str([(g.get(k), w.get(k)) for k in wrong[:2]])[:600]}")
            return False
    return True


# ---- they write, we read ----

def ways():
    """(algorithm, version, chunk size or None, with kid)"""
    out = []
    for alg in ALGS:
        for i, (version, cs) in enumerate([("1", None), ("2", None)] + [("2", c) for c in CHUNKS]):
            out.append((alg, version, cs, bool(i % 2)))
    return out


def they_write(path, tensors, meta, config):
    import cryptotensors
    d = {n: {"dtype": THEIR_NAME[t], "shape": s[:-1] + [s[-1] // 2] if t == "F4" else s, "data": b}
         for n, (t, s, b) in tensors.items()}
    while True:
        try:
            return cryptotensors.serialize_file(d, path, meta or None, config)
        except cryptotensors.SafetensorError as e:
            if "overflowed IV counter" not in str(e):  # number 18: the package draws the counter at random
                raise


def theirs(seed, folder, keys, n=60):
    total = partial = 0
    for alg, version, cs, kid in ways():
        rng = random.Random(f"{seed} theirs {alg} {version} {cs}")
        where = folder / f"theirs-{alg}-{version}-{cs}"
        where.mkdir()
        register(alg)
        direct = key_set(alg)["keys"][:2]
        truth = {}
        for i in range(n):
            tensors, meta = random_model(rng, cs if version == "2" else 0, list(THEIR_NAME))
            config = {"version": version} | ({"chunk_size": cs} if cs else {})
            config |= {"enc_kid": KID, "sign_kid": KID + "s"} if kid else {"enc_key": direct[0], "sign_key": direct[1]}
            some = [x for x in tensors if rng.random() < 0.5] if rng.random() < 0.4 else None
            if some:  # an empty list means a plain file
                config["tensors"] = some
                partial += 1
            if not tensors:
                tensors["t"] = "U8", [3], b"abc"
            they_write(where / f"{i}.safetensors", tensors, meta, config)
            truth[f"{i}.safetensors"] = tensors, meta
        verdicts = ct_verify(keys[alg, None], where)
        assert set(verdicts) == set(truth)
        for name, v in verdicts.items():
            if v:
                deviation(f"{where}/{name}: the package wrote it, ct verify says {v}")
        if not any(verdicts.values()):
            got = ct_decrypt(keys[alg, None], where, folder / f"{where.name}-out")
            assert set(got) == set(truth)
            for name in truth:
                same(f"{where}/{name}", got[name], truth[name])
        total += len(truth)
    print(f"theirs: {total} files, {partial} of them partly encrypted")
    assert partial > total // 10


# ---- we write, they read ----

def our_ways():
    """(label, algorithm, options, chunk size or 0, with kid, globs): each a way of encrypting that the package must read."""
    some = ["*[aeiou]*", "!*o*", "!*.w.*"]
    out = []
    for i, (alg, version, cs, kid) in enumerate(ways()):
        options = ["--format-version", version] + (["--chunk-size", str(cs)] if cs else [])
        more = [[], ["--digests"], ["--header-reserve", "0"], ["--header-reserve", "100000"]][i % 4]
        globs = some if i % 3 == 1 else []
        options += more + [x for g in globs for x in ("--tensors", g)]
        out.append((f"{alg}-{version}-{cs}", alg, options, cs if version == "2" else 0, kid, globs))
    return out


def fits(name, globs):
    hits = [g for g in globs if fnmatch.fnmatchcase(name, g.lstrip("!"))]
    return hits != [] and all(g[0] != "!" for g in hits)


def looks_right(path, tensors, globs, options):
    """What the package does not tell: which tensors are encrypted, and the digests."""
    look = differences.Look(path.read_bytes(), None)
    listed = {k for k, _ in differences.parse(look.last["__encryption__"])}
    want = {n for n in tensors if fits(n, globs)} if globs else set(tensors)
    if listed != want:
        deviation(f"{path}: encrypted are {sorted(listed)!r}, should be {sorted(want)!r}")
    digests = dict(differences.parse(look.last["__digests__"])) if "__digests__" in look.last else {"tensors": []}
    named = {k for k, _ in digests["tensors"]}
    if differences.digest_fault(look) or named != (set(tensors) if "--digests" in options else set(tensors) - want):
        deviation(f"{path}: digests are {differences.digest_fault(look) or 'right'}, of {sorted(named)!r}")


def ours(seed, folder, keys, n=60):
    total = retried = partial = 0
    for label, alg, options, cs, kid, globs in our_ways():
        rng = random.Random(f"{seed} ours {label}")
        where, out = folder / f"ours-{label}", folder / f"ours-{label}-out"
        where.mkdir()
        truth = {}
        for i in range(n):
            tensors, meta = random_model(rng, cs, list(BITS), nul=not globs)
            order = rng.sample(list(tensors), len(tensors))
            (where / f"{i}.safetensors").write_bytes(plain_file(tensors, meta, order))
            truth[f"{i}.safetensors"] = tensors, meta, adjacent_empties(order, tensors)
        r = ct("encrypt", "-q", "-j", "1", "--keys", keys[alg, kid], *options, str(where), str(out))
        if r.returncode:
            sys.exit(f"ct encrypt {options}: status {r.returncode}: {r.stderr[-1000:]}")
        register(alg)
        for name, (tensors, meta, empties) in truth.items():
            path = out / name
            if not path.exists() or path.read_bytes() == (where / name).read_bytes():
                deviation(f"{path}: not there, or not encrypted")
                continue
            looks_right(path, tensors, globs, options)
            for _ in range(TRIES if empties else 1):  # number 9
                verdict, got = they_read(path)
                retried += verdict != "ok"
                if verdict == "ok" or "Signature verification failed" not in got:
                    break
            if verdict != "ok":
                deviation(f"{path}: ct encrypt wrote it ({options}), the package says {verdict}: {got}")
            else:
                same(str(path), got, (tensors, meta))
        total += len(truth)
        partial += len(truth) if globs else 0
    print(f"ours: {total} files, {partial} of them partly encrypted; {retried} opens by the package failed for adjacent empty "
          "tensors and were repeated")


# ---- mutants ----

def ties_repeated(path, raw, verdict, got):
    """Adjacent empty tensors: the package looks at them in another order each time."""
    n = 0
    if differences.has_tie(raw):
        while verdict == "open" and "Signature verification failed" in got and n < TRIES:
            n += 1
            verdict, got = they_read(path)
    return verdict, got, n > 0 and verdict == "ok"


def compare(path, mutant, keyset, our_error, our_content, counts):
    """What the two sides make of one mutant."""
    allowed, label = mutant.allowed, f"{path} of {mutant.base.name}"
    verdict, got, repeated = ties_repeated(path, mutant.raw, *they_read(path))
    our, message = our_error or ("ok", "")
    if our == "EPERM":
        our, our_content = "plain", content(mutant.raw)
    counts[our, verdict] += 1
    counts["signed anew, both accept"] += mutant.anew and our == verdict == "ok"
    good = differences.signature_good(mutant.raw, keyset)
    if good and ("signature is wrong" in message or "Signature verification" in str(got)):
        deviation(f"{label}: the signature is right and said to be wrong: {our} {message}, {verdict} {str(got)[:99]}")
    if our == "ok" and not good:
        deviation(f"{label}: we accept it, and the signature is wrong")
    if repeated:
        met[differences.TIE] += 1
        if differences.TIE not in allowed:
            deviation(f"{label}: has adjacent empty tensors, which it is not declared to have")
    accepts, they_accept = our in ("ok", "plain"), verdict in ("ok", "plain")
    reached = differences.reached(allowed, mutant.raw, keyset)
    if accepts and they_accept and our == verdict:
        same(label, our_content, got)
        for n in reached:
            if differences.RULES[n][0] != "ok":
                deviation(f"{label}: we accept it, like the package, although it is a case of number {n}")
    elif accepts or they_accept:
        number = differences.find(reached, our, message)
        met[number] += 1
        if number is None:
            deviation(f"{label}: we say {our} {message}, the package says {verdict} {'' if they_accept else got}")
        elif accepts:
            same(label, our_content, content(judge.view(mutant.raw, keyset)[0]))


def main(seed, folder, what, *args):
    folder = pathlib.Path(folder)
    keys = write_key_sets(folder)
    check_list()
    if what == "mutants":
        counts = mutants.run(sys.modules["__main__"], seed, folder, keys, *map(int, args))
        for n in {*differences.RULES, differences.TIE} - set(met):
            deviation(f"no mutant met difference {n}: nothing holds it")
        said = (f"{k if isinstance(k, str) else ' / '.join(k)} {n}" for k, n in counts.most_common())
        print("mutants, our verdict and theirs:", ", ".join(said))
    else:
        {"theirs": theirs, "ours": ours}[what](seed, folder, keys, *map(int, args))
    for n, count in sorted((n, c) for n, c in met.items() if n):
        print(f"difference {n}: {count} files")
    for d in deviations[:40]:
        print(d[:1500])
    if deviations:
        print(len(deviations), "deviations" + (", of which the first 40 are above" if len(deviations) > 40 else ""))
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
