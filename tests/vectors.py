"""vectors.py MODE…: every file of tests/vectors must get the verdict that manifest.json gives it.

Needs BUILD (ct, ct-agent, libctshim.so, probes/pages), PRELOAD, and for all modes but ct-verify-keys and ct-decrypt-keys
an agent at CT_AGENT_SOCK, whose keys are replaced. Modes:

  ct-verify-keys, ct-decrypt-keys   ct verify --keys, ct decrypt --keys
  ct-agent                          ct verify, ct decrypt through the agent
  read                              a Python process under the preload: open, read whole, pread of every byte of a damaged file
  mmap                              a C program under the preload, page by page, MAP_PRIVATE and MAP_SHARED

Prints each deviation and, a mode, one line with the number of files judged. Exit status 1 after any deviation.
(`vectors.py --probe FILE…` is what read runs under the preload: a line of JSON a file.)
"""
import collections
import errno
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
VECTORS = HERE / "vectors"
STRANGER = pathlib.Path("/tmp/ctvectors-stranger.jwk")


# ---- under the preload ----

def ranges(flags):
    """[(begin, end)] of the runs of true."""
    out = []
    for at, flag in enumerate(flags):
        if flag and out and out[-1][1] == at:
            out[-1][1] = at + 1
        elif flag:
            out.append([at, at + 1])
    return out


def probe_read(fd):
    """Reads to the end or to the first error, in pieces of odd size: (bytes, errno's name or None)."""
    out = b""
    while True:
        try:
            part = os.read(fd, 70001)
        except OSError as e:
            return out, errno.errorcode[e.errno]
        if not part:
            return out, None
        out += part


def probe(path):
    r = {"file": path}
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        return r | {"open": errno.errorcode[e.errno]}
    size = os.fstat(fd).st_size
    data, failed = probe_read(fd)
    r |= {"open": None, "size": size, "read": failed, "len": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    if failed:  # byte by byte: which are right, which fail, and how
        single, errors = bytearray(size), []
        for at in range(size):
            try:
                single[at:at + 1] = os.pread(fd, 1, at)
                errors.append(None)
            except OSError as e:
                errors.append(errno.errorcode[e.errno])
        assert len(single) == size
        r |= {"bytes": single.hex(), "bad": ranges(errors), "errors": sorted(set(errors) - {None})}
    os.close(fd)
    return r


if sys.argv[1:2] == ["--probe"]:
    for p in sys.argv[2:]:
        print(json.dumps(probe(p)), flush=True)
    sys.exit(0)


# ---- the judge ----

import judge  # noqa: E402  (not under the preload: it loads a libcrypto)

BUILD = pathlib.Path(os.environ["BUILD"])
CT = str(BUILD / "ct")
deviations = []


class Vector:
    """An entry of the manifest with what follows from it: errno, the view's bytes, its damaged ranges."""

    def __init__(self, e):
        self.name, self.kind, self.plain = e["file"], e["class"], e.get("plain", False)
        self.path = str(VECTORS / e["file"])
        self.keys = e["keys"]["file"]
        self.errno = e["errno"]
        self.raw = pathlib.Path(self.path).read_bytes()
        assert hashlib.sha256(self.raw).hexdigest() == e["sha256"], f"{self.name} is not the file that the manifest means"
        if self.kind == "policy" and self.policy() != judge.DEFAULT_POLICY:
            self.errno = "EKEYREJECTED"  # without a policy engine only the default text is true
        self.opens = self.errno in (None, "EIO")
        self.view, self.bad = None, []
        if self.opens:
            self.view, self.bad = judge.view(self.raw, json.loads((VECTORS / self.keys).read_text()))
            if self.errno is None:
                assert hashlib.sha256(self.view).hexdigest() == e["view_sha256"], f"{self.name}: judge and manifest disagree"
            else:
                assert self.bad, f"{self.name}: judge and manifest disagree"

    def policy(self):
        meta = judge.split(self.raw)[2]
        return json.loads(meta["__policy__"])["local"].strip()


def load():
    entries = json.loads((VECTORS / "manifest.json").read_text())["files"]
    vectors = [Vector(e) for e in entries]
    files = {p.name for p in VECTORS.glob("*.safetensors")}
    assert files == {v.name for v in vectors} and len(vectors) == len(entries), "manifest and folder differ"
    by_keys = collections.defaultdict(list)
    for v in vectors:
        by_keys[v.keys].append(v)
    return vectors, by_keys


def wrong(mode, v, text):
    deviations.append(f"{mode}: {v.name} ({v.kind}): {text}")


def run(*cmd, preload=False, **env):
    e = dict(os.environ, **env)
    if preload:
        e["LD_PRELOAD"] = os.environ["PRELOAD"]
        if "ASAN_HOST_OPTIONS" in e:
            e["ASAN_OPTIONS"] = e["ASAN_HOST_OPTIONS"]
    return subprocess.run(cmd, env=e, capture_output=True, text=True, errors="replace", timeout=300)


def one_line(mode, v, stderr, prefix):
    """A failed open is explained by exactly one line that names the file."""
    lines = [x for x in stderr.splitlines() if x.startswith(prefix) and v.path in x]
    if len(lines) != 1:
        wrong(mode, v, f"{len(lines)} lines of explanation instead of one: {lines}")


def check_verify(mode, vectors, keys):
    r = run(CT, "verify", *keys, *[v.path for v in vectors])
    said = collections.defaultdict(list)
    for line in (r.stdout + r.stderr).splitlines():
        for v in vectors:
            if f"{v.path}: " in line:
                said[v.name].append(line.split(f"{v.path}: ", 1)[1])
    want = 1 if any(v.errno or v.plain for v in vectors) else 0
    if r.returncode != want:
        deviations.append(f"{mode}: exit status {r.returncode} instead of {want}; last words: {r.stderr[-500:]}")
    for v in vectors:
        verdict = "EPERM" if v.plain else v.errno or "ok"
        if len(said[v.name]) != 1 or said[v.name][0].split(":")[0].split()[0] != verdict:
            wrong(mode, v, f"should be said to be {verdict}, was {said[v.name]}")
    return len(vectors)


def check_decrypt(mode, vectors, keys):
    with tempfile.TemporaryDirectory() as tmp:
        for v in vectors:
            out = pathlib.Path(tmp) / v.name
            r = run(CT, "decrypt", *keys, v.path, str(out))
            verdict = "EPERM" if v.plain else v.errno
            if verdict is None:
                if r.returncode or not out.exists() or out.read_bytes() != v.view:
                    wrong(mode, v, f"status {r.returncode}, output right: {out.exists() and out.read_bytes() == v.view}; {r.stderr.strip()}")
            elif r.returncode != 3 or f"{v.path}: {verdict}: " not in r.stderr:
                wrong(mode, v, f"should be status 3 and {verdict}, was {r.returncode}: {r.stderr.strip()}")
            elif out.exists():
                wrong(mode, v, "left an output file although it failed")
        left = [p for p in pathlib.Path(tmp).iterdir() if p.name not in {v.name for v in vectors}]
        if left:
            deviations.append(f"{mode}: left {left}")
    return len(vectors)


def mode_ct_verify_keys(keys, vectors):
    return check_verify("ct-verify-keys", vectors, ["--keys", keys])


def mode_ct_decrypt_keys(keys, vectors):
    return check_decrypt("ct-decrypt-keys", vectors, ["--keys", keys])


def mode_ct_agent(keys, vectors):
    check_verify("ct-agent, verify", vectors, [])
    return check_decrypt("ct-agent, decrypt", vectors, [])


def probe_all(mode, vectors, **env):
    """[(vector, what the probe saw, stderr)]"""
    r = run(sys.executable, __file__, "--probe", *[v.path for v in vectors], preload=True, **env)
    saw = {x["file"]: x for x in map(json.loads, r.stdout.splitlines())}
    if r.returncode or len(saw) != len(vectors):
        deviations.append(f"{mode}: the reading process: status {r.returncode}, {len(saw)} of {len(vectors)} files; {r.stderr[-2000:]}")
    return [(v, saw[v.path]) for v in vectors if v.path in saw], r.stderr


def mode_read(_, vectors):
    results, stderr = probe_all("read", vectors)
    for v, saw in results:
        if saw["open"] != (None if v.opens else v.errno):
            wrong("read", v, f"open gives {saw['open']} instead of {v.errno if not v.opens else 'a descriptor'}")
        elif not v.opens:
            one_line("read", v, stderr, "ctshim: ")
        elif saw["size"] != len(v.raw):
            wrong("read", v, f"st_size is {saw['size']}, the file has {len(v.raw)}")
        elif not v.bad:
            if saw["read"] or saw["sha256"] != hashlib.sha256(v.view).hexdigest():
                wrong("read", v, f"the bytes are not the view's: {saw['len']} of {len(v.view)} read, then {saw['read']}")
        else:
            check_damaged_read(v, saw)
            if "ctshim: " not in stderr or v.path not in stderr:
                wrong("read", v, "no line on stderr explains the EIO")
    plain = [v for v in vectors if v.plain]
    if plain:  # CTSHIM_REQUIRE changes the verdict of plain files alone
        results, stderr = probe_all("read, CTSHIM_REQUIRE=1", plain, CTSHIM_REQUIRE="1")
        for v, saw in results:
            if saw["open"] != "EPERM":
                wrong("read, CTSHIM_REQUIRE=1", v, f"open gives {saw['open']} instead of EPERM")
            one_line("read, CTSHIM_REQUIRE=1", v, stderr, "ctshim: ")
    return len(vectors)


def check_damaged_read(v, saw):
    first = v.bad[0][0]
    if saw["read"] != "EIO" or saw["len"] != first or saw["sha256"] != hashlib.sha256(v.view[:first]).hexdigest():
        wrong("read", v, f"read() gives {saw['len']} bytes, then {saw['read']}; should give {first} right bytes, then EIO")
        return
    flags = bytearray(len(v.raw))
    for a, b in v.bad:
        flags[a:b] = b"\1" * (b - a)
    if saw["errors"] != ["EIO"] or saw["bad"] != ranges(flags):
        wrong("read", v, f"pread fails with {saw['errors']} in {saw['bad']}, should with EIO in {ranges(flags)}")
    got = bytes.fromhex(saw["bytes"])
    if any(got[at] != v.view[at] for at in range(len(got)) if not flags[at]):
        wrong("read", v, "pread gives a wrong byte")


def mode_mmap(_, vectors):
    for name, env in (("mmap private", {}), ("mmap shared", {"PAGES_SHARED": "1"})):
        r = run(str(BUILD / "probes/pages"), *[v.path for v in vectors], preload=True, **env)
        lines, by_path = collections.deque(r.stdout.splitlines()), {v.path: v for v in vectors}
        seen = 0
        while lines:
            path, what, arg = lines.popleft().rsplit(" ", 2)
            v, seen = by_path[path], seen + 1
            if not v.opens:
                if (what, arg) != ("open", v.errno):
                    wrong(name, v, f"{what} {arg} instead of open {v.errno}")
                else:
                    one_line(name, v, r.stderr, "ctshim: ")
            if what == "pages":
                page = int(arg)
                pages = [lines.popleft() for _ in range(0, len(v.raw), page)]
                if v.opens:
                    check_pages(name, v, page, pages)
            elif v.opens:
                wrong(name, v, f"{what} fails with {arg}")
        if r.returncode or seen != len(vectors):
            deviations.append(f"{name}: status {r.returncode}, {seen} of {len(vectors)} files; {r.stderr[-2000:]}")
    return len(vectors)


def check_pages(name, v, page, pages):
    for n, got in enumerate(pages):
        a, b = n * page, (n + 1) * page
        bad = any(x < b and a < y for x, y in v.bad)
        if bad != (got == "BUS"):
            wrong(name, v, f"page {n} {'raises SIGBUS' if got == 'BUS' else 'can be read'}, and should not: damaged are {v.bad}")
        elif not bad and bytes.fromhex(got) != v.view[a:b].ljust(page, b"\0"):
            wrong(name, v, f"page {n} has wrong bytes")


MODES = {"ct-verify-keys": mode_ct_verify_keys, "ct-decrypt-keys": mode_ct_decrypt_keys, "ct-agent": mode_ct_agent,
         "read": mode_read, "mmap": mode_mmap}


def switch_keys(keys):
    """The agent has the keys of this set alone."""
    for args in (["remove", "--all"], ["add", keys]):
        r = run(CT, *args)
        if r.returncode:
            sys.exit(f"ct {' '.join(args)}: status {r.returncode}: {r.stderr}")


def main(modes):
    vectors, by_keys = load()
    kinds = collections.Counter(v.errno for v in vectors)
    for want in (None, "EBADMSG", "EKEYREJECTED", "EIO", "ENOKEY"):
        assert kinds[want], f"no vector for {want}"
    shutil.copy(VECTORS / "keys/stranger.jwk", STRANGER)  # so that a reader which follows a file's jku would be caught
    try:
        with tempfile.TemporaryDirectory() as tmp:
            copies = {k: shutil.copy(VECTORS / k, tmp) for k in by_keys}
            for k in copies.values():
                os.chmod(k, 0o600)
            for mode in modes:
                judged = 0
                for keys, group in by_keys.items():
                    if not mode.endswith("-keys"):
                        switch_keys(copies[keys])
                    judged += MODES[mode](copies[keys], group)
                if judged != len(vectors):
                    deviations.append(f"{mode}: judged {judged} files, the manifest has {len(vectors)}")
                print(f"{mode}: {judged} files judged: " + ", ".join(f"{n} {k or 'ok'}" for k, n in kinds.most_common()), flush=True)
    finally:
        STRANGER.unlink(missing_ok=True)
    for d in deviations[:40]:
        print(d)
    if deviations:
        print(len(deviations), "deviations" + (", of which the first 40 are above" if len(deviations) > 40 else ""))
    return 1 if deviations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or list(MODES)))
