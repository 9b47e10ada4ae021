"""served.py KEYS FILE DAMAGED: by every way into it, FILE gives the judge's view, and an error exactly where the judge finds damage.

KEYS: the set that opens FILE; the agent at CT_AGENT_SOCK has it. DAMAGED: how many chunks must be damaged. Needs BUILD and PRELOAD. The ways:
ct verify (every place, as JSON), ct decrypt, read() from the start, pread() at chosen and at random places, and page by page through private and
shared mappings. (`served.py --probe FILE PLACES` is what runs under the preload.)
"""
import errno
import hashlib
import json
import os
import random
import subprocess
import sys


def probe(path, places):
    fd = os.open(path, os.O_RDONLY)
    got = b""
    failed = None
    while True:
        try:
            part = os.read(fd, 70001)
        except OSError as e:
            failed = errno.errorcode[e.errno]
            break
        if not part:
            break
        got += part
    print(json.dumps([len(got), hashlib.sha256(got).hexdigest(), failed]))
    with open(places) as f:
        for at, n in json.load(f):
            try:
                part = os.pread(fd, n, at)
                print(json.dumps([len(part), hashlib.sha256(part).hexdigest(), None]))
            except OSError as e:
                print(json.dumps([0, None, errno.errorcode[e.errno]]))


if sys.argv[1:2] == ["--probe"]:
    probe(*sys.argv[2:])
    sys.exit(0)

import judge  # noqa: E402  (not under the preload: it loads a libcrypto)

BUILD = os.environ["BUILD"]


def run(*cmd, preload=False, **env):
    e = dict(os.environ, **env)
    if preload:
        e["LD_PRELOAD"] = os.environ["PRELOAD"]
        if "ASAN_HOST_OPTIONS" in e:
            e["ASAN_OPTIONS"] = e["ASAN_HOST_OPTIONS"]
    return subprocess.run(cmd, env=e, capture_output=True, text=True, errors="replace", timeout=300)


def merged(chunks, bad):
    """[(tensor, first, last, begin, end)]: damaged chunks that follow one another in a tensor are one place."""
    out = []
    for name, i, begin, end in chunks:
        if (begin, end) not in bad or begin == end:
            continue
        if out and out[-1][0] == name and out[-1][4] == begin:
            out[-1] = out[-1][:2] + (i, out[-1][3], end)
        else:
            out.append((name, i, i, begin, end))
    return sorted(out, key=lambda x: x[3])


def check_verify(keys, path, places):
    r = run(f"{BUILD}/ct", "verify", "--json", "--keys", keys, path)
    said = json.loads(r.stdout)
    assert r.returncode == (1 if places else 0) and said["ok"] is not bool(places), (r.returncode, r.stdout)
    got = [(f["tensor"], f["chunk"], f["last_chunk"], f["begin"], f["end"]) for f in said["faults"]]
    assert got == places, f"ct verify finds {got}, should {places}"


def check_decrypt(keys, path, view, places):
    out = path + ".decrypted"
    r = run(f"{BUILD}/ct", "decrypt", "-j", "1", "--keys", keys, path, out)
    if not places:
        assert r.returncode == 0, r.stderr
        with open(out, "rb") as f:
            assert f.read() == view, "ct decrypt writes another view"
        os.unlink(out)
        return
    _, first, _, begin, _ = places[0]
    assert r.returncode == 3 and f"ct: {path}: EIO: tensor " in r.stderr and f", chunk {first} (bytes {begin} to " in r.stderr, r.stderr
    assert not os.path.exists(out), "ct decrypt left an output"


def want(view, bad, at, n):
    """What a read of n bytes at `at` must give."""
    end = min([at + n, len(view)] + [b for b, e in bad if e > at])
    if any(b <= at < e for b, e in bad) and n and at < len(view):
        return [0, None, "EIO"]
    part = view[at:max(at, end)]
    return [len(part), hashlib.sha256(part).hexdigest(), None]


def check_reads(path, view, bad):
    rng, places = random.Random(len(view)), []
    for b, e in bad[:4] + bad[-4:]:
        places += [(at, n) for at in (b - 1, b, b + 1, e - 1, e, (b + e) // 2) for n in (1, 2, 4095, e - b, len(view)) if 0 <= at]
    places += [(rng.randrange(len(view)), rng.choice((1, 16, 4096, 100000, len(view)))) for _ in range(100)]
    with open(path + ".places", "w") as f:
        json.dump(places, f)
    r = run(sys.executable, __file__, "--probe", path, path + ".places", preload=True)
    assert r.returncode == 0, r.stderr[-2000:]
    got = [json.loads(x) for x in r.stdout.splitlines()]
    whole = want(view, bad, 0, len(view))
    whole[2] = "EIO" if bad else None
    assert got[0] == whole, f"read() to the end gives {got[0]}, should {whole}"
    for (at, n), g in zip(places, got[1:], strict=True):
        assert g == want(view, bad, at, n), f"pread() of {n} at {at} gives {g}, should {want(view, bad, at, n)}; damaged: {bad[:9]}"


def check_pages(path, view, bad, how):
    r = run(f"{BUILD}/probes/pages", path, preload=True, **({"PAGES_SHARED": "1"} if how == "shared" else {}))
    first, *pages = r.stdout.splitlines()
    page = int(first.rsplit(" ", 1)[1])
    assert r.returncode == 0 and len(pages) == -(-len(view) // page), (r.returncode, first, r.stderr[-2000:])
    for i, got in enumerate(pages):
        a, b = i * page, (i + 1) * page
        damaged = any(x < b and a < y for x, y in bad)
        assert damaged == (got == "BUS"), f"{how} page {i}: {'can be read' if damaged else 'raises SIGBUS'}, and should not"
        assert damaged or bytes.fromhex(got) == view[a:b].ljust(page, b"\0"), f"{how} page {i} has wrong bytes"


def main(keys, path, damaged):
    with open(keys) as f:
        keyset = json.load(f)
    with open(path, "rb") as f:
        raw = f.read()
    view, bad = judge.view(raw, keyset)
    assert len(bad) == int(damaged), f"the judge finds {len(bad)} damaged chunks, not {damaged}: {bad[:9]}"
    places = merged(judge.chunks(raw), set(bad))
    bad = sorted(bad)
    check_verify(keys, path, places)
    check_decrypt(keys, path, view, places)
    check_reads(path, view, bad)
    for how in ("private", "shared"):
        check_pages(path, view, bad, how)


if __name__ == "__main__":
    main(*sys.argv[1:])
