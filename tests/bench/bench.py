"""bench: what encryption costs, beside plain safetensors, the reference implementation and the floor. scripts/bench sets it up and starts it.

Contenders, in one interleaved run, each sample a fresh process:
  plain   the plain file with the plain library
  ref     the encrypted file with the reference, cryptotensors
  shim    the encrypted file with the plain library under the shim
  floor   a bare C program (floor.c) that reads the same bytes, decrypts the same chunks with as many threads as there are cores, leaves them in
          fresh memory, and does nothing else, with the libcrypto that the shim has
  also    the shim of another build, if --also names one: before and after of a change
The page cache is warm unless --cold; figures are medians, ratios those of medians. Sums of what was read are compared: a wrong byte ends the run.
"""
import argparse
import contextlib
import json
import os
import pathlib
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

import models
import targets

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / os.environ.get("BUILD", "build")
MIB = 1 << 20


def say(text):
    print(text, file=sys.stderr, flush=True)


class Model:
    def __init__(self, folder, variant):
        self.folder, self.name, self.variant = folder, folder.name, variant
        self.plain = folder / "plain/model.safetensors"
        self.opened = {}

    def ct(self, variant=None):
        variant = variant or self.variant
        return self.folder / (f"ct-{variant}" if variant else "ct") / "model.safetensors"

    def keys(self, variant=None):
        return self.ct(variant).parent / "keys.jwk"

    def encrypted(self, variant=None):
        if variant not in self.opened:
            self.opened[variant] = models.Encrypted(self.ct(variant), self.keys(variant))
        return self.opened[variant]


class Bench:
    def __init__(self, work, options):
        self.work, self.o = work, options
        self.samples, self.sums, self.tables = {}, {}, {}
        self.cores = len(os.sched_getaffinity(0))

    # ---- one sample ----

    def note(self, case, who, sample):
        # What the reference wrote, and floors, have sums of their own or none.
        checksum = sample.pop("sum", None)
        if checksum is not None and self.sums.setdefault(case, checksum) != checksum:
            sys.exit(f"bench: {case}: {who} read other bytes: {checksum}, not {self.sums[case]}")
        if not self.warming:
            self.samples.setdefault((case, who), []).append(sample)

    def env(self, who, keys):
        env = {}
        if who in ("shim", "also"):
            build = BUILD if who == "shim" else self.o.also
            self.stats().unlink(missing_ok=True)
            env = {"LD_PRELOAD": build / "libctshim.so", "CTSHIM_STATS": self.stats()}
        elif who == "ref":
            env = {"CRYPTOTENSOR_KEYS": keys.read_text()}
        return dict(os.environ) | {k: str(v) for k, v in env.items()}

    def stats(self):
        return self.work / "stats"

    def evict(self, *files):
        """Out of the page cache, if that is asked for; of these files alone, so that nobody else's are lost."""
        if not self.o.cold:
            return
        for path in files:
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)

    def python(self, case, who, keys, what, file, arg=None, count=1, one_core=False):
        """count processes of cases.py at once; each is a sample."""
        library = "cryptotensors" if who == "ref" else "safetensors"
        args = [sys.executable, HERE / "cases.py", library, what, file] + ([arg] if arg else [])
        pin = (lambda: os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})) if one_core else None
        procs = [subprocess.Popen([str(a) for a in args], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self.env(who, keys),
                                  preexec_fn=pin) for _ in range(count)]
        for p in procs:
            if p.stdout.readline() != "ready\n":
                sys.exit(f"bench: {case}, {who}: cases.py did not start")
        self.evict(file / "model.safetensors" if file.is_dir() else file)
        for p in procs:
            p.stdin.write("go\n")
            p.stdin.flush()
        lines = [p.stdout.readline() for p in procs]
        for p in procs:
            p.stdin.close()
        if any([p.wait() for p in procs]) or not all(lines):
            sys.exit(f"bench: {case}, {who}: failed")
        stats = [json.loads(s) for s in self.stats().read_text().splitlines()] if self.stats().exists() else []
        self.stats().unlink(missing_ok=True)
        for i, line in enumerate(lines):
            sample = json.loads(line)
            if len(stats) > i:
                sample |= {k: stats[i][k] for k in ("method", "bytes_decrypted", "chunks_decrypted", "faults")}
            self.note(case, who, sample)

    def table(self, model, variant=None, names=None):
        key = (model.name, variant, len(names or ()))
        if key not in self.tables:
            self.tables[key] = self.work / f"table{len(self.tables)}"
            self.tables[key].write_bytes(model.encrypted(variant).table(names))
        return self.tables[key]

    def floor(self, case, model, *flags, who="floor", variant=None, names=None, file=None, count=1):
        table = self.table(model, variant, names)
        file = file or model.ct(variant)
        args = [BUILD / "bench/floor", "-a", model.encrypted(variant).cipher, *flags, file, table]
        self.command(case, who, args, (file,), own_clock=True, count=count)

    def command(self, case, who, args, reads=(), own_clock=False, count=1):
        """count programs of ours at once, without Python; own_clock: they print their seconds themselves."""
        self.evict(*reads)
        outs = [self.work / f"out{i}" for i in range(count)]
        procs = [subprocess.Popen([str(a) for a in (BUILD / "bench/usage", out, *args)], stdout=subprocess.PIPE, text=True) for out in outs]
        for p, out in zip(procs, outs):
            line = p.communicate()[0].split()
            if p.returncode != 0:
                sys.exit(f"bench: {case}, {who}: status {p.returncode}")
            seconds, cpu, peak = float(line[0]), float(line[1]), int(line[2])
            if own_clock:
                seconds = float(out.read_text().split()[0])
            self.note(case, who, {"seconds": seconds, "cpu": cpu, "peak": peak})

    def reader(self, case, who, mode, file, arg):
        self.evict(file)
        p = subprocess.Popen([str(a) for a in (BUILD / "bench/reader", mode, file, arg)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             env=self.env(who, None))
        seconds, checksum = p.stdout.readline().split()
        peak = re.search(r"VmHWM:\s*(\d+)", pathlib.Path(f"/proc/{p.pid}/status").read_text())
        p.stdin.close()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = status
        if status != 0:
            sys.exit(f"bench: {case}, {who}: failed")
        sample = {"seconds": float(seconds), "cpu": usage.ru_utime + usage.ru_stime, "peak": int(peak[1]) * 1024, "sum": checksum}
        if self.stats().exists():
            found = json.loads(self.stats().read_text())
            sample |= {k: found[k] for k in ("method", "bytes_decrypted", "chunks_decrypted", "faults")}
        self.note(case, who, sample)

    # ---- rounds ----

    def run(self, case, todo, runs):
        """todo: [(contender, function)]; each once a round, in another order each time."""
        if self.o.only and not any(case.startswith(p) for p in self.o.only):
            return
        load = os.getloadavg()[0]
        say(f"{case} (load {load:.1f})")
        rng = random.Random(case)
        self.warming = not self.o.cold  # a first round makes the page cache warm
        for n in range(runs + self.warming):
            order = list(todo)
            rng.shuffle(order)
            for _, sample in order:
                sample()
            self.warming = False

    def shims(self):
        return ["shim"] + (["also"] if self.o.also else [])

    def load(self, case, model, what, runs, arg=None, floor=True, ref=True, variant=None, names=None, folder=False, flags=(), **kw):
        """A case of cases.py for all contenders."""
        def file(path):
            return path.parent if folder else path

        keys = model.keys(variant)
        todo = [("plain", lambda: self.python(case, "plain", keys, what, file(model.plain), arg, **kw))] if not variant else []
        if ref:
            todo.append(("ref", lambda: self.python(case, "ref", keys, what, file(model.ct(variant)), arg, **kw)))
        for who in self.shims():
            todo.append((who, lambda who=who: self.python(case, who, keys, what, file(model.ct(variant)), arg, **kw)))
        if floor:
            count = kw.get("count", 1)
            todo.append(("floor", lambda: self.floor(case, model, *flags, variant=variant, names=names, count=count)))
            if floor == "huge":
                todo.append(("huge", lambda: self.floor(case, model, "-h", *flags, who="huge", variant=variant, names=names, count=count)))
        self.run(case, todo, runs)

    def median(self, case, who, what="seconds"):
        found = [s[what] for s in self.samples.get((case, who), []) if what in s]
        return statistics.median(found) if found else None


def ranges(work, size, piece):
    path = work / f"ranges{piece}-{size}"
    path.write_bytes(b"".join(at.to_bytes(8, "little") + min(piece, size - at).to_bytes(8, "little") for at in range(0, size, piece)))
    return path


def loading(b, model):
    runs, name = b.o.runs, model.name
    if name == "swarm":
        b.load(f"open {name}", model, "open", runs, floor=False)
        return
    b.load(f"open {name}", model, "open", 2 * runs, floor=False)
    if name == "many":
        b.load(f"torch {name}", model, "torch", runs)
        return
    if name in models.CONFIGS:
        b.load(f"torch {name}", model, "torch", runs, floor="huge")
        b.load(f"untouched {name}", model, "untouched", runs, floor=False)
    if name == "gpt2":  # numpy knows no BF16
        b.load(f"numpy {name}", model, "numpy", runs)
        b.load(f"numpy, one core {name}", model, "numpy", runs, one_core=True, flags=("-t", 1))
    if name in models.CONFIGS:
        b.load(f"transformers {name}", model, "transformers", runs, folder=True)
    enc = model.encrypted()
    if name == "qwen3":
        names = enc.names(0.1)
        path = b.work / "tenth"
        path.write_text(json.dumps(names))
        b.load(f"tenth {name}", model, "tensors", runs, arg=path, names=names)
        for count in (2, 4):
            b.load(f"{count} processes {name}", model, "torch", runs, count=count)
    if name in ("qwen3", "one"):
        path = b.work / f"row-{name}"
        path.write_text(json.dumps([enc.largest()]))
        b.load(f"row {name}", model, "row", runs, arg=path, floor=False)
    if name in ("gpt2", "one"):
        passes(b, model)


def passes(b, model):
    """Programs in C: one pass over a mapping by one thread, and read()."""
    size = model.plain.stat().st_size
    for case, mode, arg in [(f"pass {model.name}", "sum", "shared"), (f"private pass {model.name}", "sum", "private")] + [
            (f"read {label} {model.name}", "pread", ranges(b.work, size, n)) for label, n in (("16M", 16 * MIB), ("4K", 4096))]:
        todo = [(who, lambda who=who, case=case, mode=mode, arg=arg: b.reader(case, who, mode, model.plain if who == "plain" else model.ct(), arg))
                for who in ["plain"] + b.shims()]
        flags = ("-n",) if mode == "pread" else ()
        todo.append(("floor", lambda case=case, flags=flags: b.floor(case, model, *flags)))
        b.run(case, todo, b.o.runs)


def variants(b, model):
    for v in models.VARIANTS:
        b.load(f"torch {model.name} {v}", model, "torch", b.o.runs, variant=v)


def files(b, model, tmpfs):
    """ct on whole files. Outputs are on tmpfs, where fsync() costs nothing."""
    out, k = tmpfs / "out", ["--keys", model.keys()]
    ct, runs, plain, enc = BUILD / "ct", b.o.runs, model.plain, model.ct()

    def case(name, todo):
        def fresh(run):
            def sample():
                out.unlink(missing_ok=True)
                run()
            return sample
        b.run(f"{name} {model.name}", [(who, fresh(run)) for who, run in todo], runs)
        out.unlink(missing_ok=True)

    def ours(name, *args):
        return [("shim", lambda: b.command(f"{name} {model.name}", "shim", [ct, *args], (args[-2 if args[-1] == out else -1],)))]

    case("encrypt", ours("encrypt", "encrypt", "-q", *k, plain, out) + [
        ("ref", lambda: b.python(f"encrypt {model.name}", "ref", model.keys(), "save", plain, out)),
        ("floor", lambda: b.floor(f"encrypt {model.name}", model, "-e", out, file=plain))])
    case("decrypt", ours("decrypt", "decrypt", "-q", *k, enc, out) + [("floor", lambda: b.floor(f"decrypt {model.name}", model, "-w", out))])
    case("verify", ours("verify", "verify", *k, enc) + [("floor", lambda: b.floor(f"verify {model.name}", model, "-n"))])
    folder, new = tmpfs / "rewrapped", tmpfs / "new.jwk"
    folder.mkdir()
    models.run(ct, "keygen", "-q", "-o", new)
    dd = ["dd", f"if={enc}", f"of={out}", "bs=1M", "status=none"]
    name = f"rewrap {model.name}"
    case("rewrap", [("shim", lambda: b.command(name, "shim", [ct, "rewrap", "-q", "--force", *k, "--new-keys", new, "-o", folder, enc])),
                    ("plain", lambda: b.command(name, "plain", dd))])


def untouched(b):
    """Programs that never open a model: a bench of its own."""
    if b.o.only and not any(p.startswith(("start", "calls")) for p in b.o.only):
        return
    say("start-up and calls of unrelated programs")
    out = subprocess.run([sys.executable, HERE / "untouched", "--json", "--starts", "300", "--rounds", "5"], check=True, capture_output=True, text=True).stdout
    b.untouched = json.loads(out)["rows"]


@contextlib.contextmanager
def agent(work, keys):
    env = os.environ
    env["CT_AGENT_SOCK"] = str(work / "s")
    with open(work / "log", "wb") as log:
        p = subprocess.Popen([BUILD / "ct-agent", "-f", "-s", work / "s"], stdout=log, stderr=log)
    try:
        for k in keys:
            subprocess.run([BUILD / "ct", "add", "-q", k], env=env | {"CT_AGENT_WAIT": "30"}, check=True)
        yield
    finally:
        p.terminate()
        p.wait()


def machine():
    cpu = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = subprocess.run([BUILD / "ct", "--version"], capture_output=True, text=True).stdout.splitlines()
    huge = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
    return {"cpu": cpu[1] if cpu else platform.machine(), "cores": len(os.sched_getaffinity(0)), "kernel": platform.release(), "openssl": lines[-1],
            "huge_pages": re.search(r"\[(\w+)\]", huge.read_text())[1] if huge.exists() else "none", "date": time.strftime("%Y-%m-%d"),
            "load": os.getloadavg()[0]}


def listed(text):
    return [t for t in text.split(",") if t]


def main():
    p = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--models", type=listed, default=list(models.MODELS), metavar="NAME,…", help="of " + ",".join(models.MODELS) + " (default: all)")
    p.add_argument("--only", type=listed, default=[], metavar="CASE,…", help="cases whose name begins so: open, torch, 'torch qwen3', encrypt, start …")
    p.add_argument("--variant", choices=models.VARIANTS, help="measures with files that were encrypted so, instead of by default")
    p.add_argument("--runs", type=int, default=5, metavar="N", help="rounds (default 5)")
    p.add_argument("--json", type=pathlib.Path, metavar="FILE", help="writes all samples there")
    p.add_argument("--cold", action="store_true", help="takes the files out of the page cache before each sample")
    p.add_argument("--also", type=pathlib.Path, metavar="BUILD", help="another build's folder, whose shim is measured beside this one's")
    default = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ct-bench"
    p.add_argument("--dir", type=pathlib.Path, default=default, metavar="FOLDER", help=f"where the models are kept, 9 GB (default {default})")
    p.add_argument("--tmpfs", type=pathlib.Path, default=pathlib.Path("/dev/shm"), metavar="FOLDER", help="where ct writes (default /dev/shm)")
    o = p.parse_args()
    if unknown := set(o.models) - set(models.MODELS):
        sys.exit(f"bench: there is no model {', '.join(unknown)}")
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # its threads spin for a while after numpy was imported, beside what is measured
    for var in [v for v in os.environ if v.startswith(("CTSHIM_", "CT_AGENT_")) or v in ("LD_PRELOAD", "CRYPTOTENSOR_KEYS")]:
        del os.environ[var]
    where = machine()
    with tempfile.TemporaryDirectory(prefix="ctb") as work, tempfile.TemporaryDirectory(prefix="ctb", dir=o.tmpfs) as tmpfs:
        bench = Bench(pathlib.Path(work), o)
        wants_variants = not o.variant and (not o.only or any(p.startswith("torch gpt2 ") or p == "torch" for p in o.only))
        made = []
        for name in o.models:
            extra = list(models.VARIANTS) if name == "gpt2" and wants_variants else [o.variant] if o.variant else []
            made.append(Model(models.make(o.dir, name, BUILD / "ct", extra), o.variant))
        bench.untouched = []
        keys = [k for m in made for k in m.folder.glob("*/keys.jwk")]
        with agent(pathlib.Path(work), keys):
            for model in made:
                loading(bench, model)
                if model.name == "gpt2" and wants_variants:
                    variants(bench, model)
                if model.name == "qwen3":
                    files(bench, model, pathlib.Path(tmpfs))
        untouched(bench)
    where["load_end"] = os.getloadavg()[0]
    rows = targets.judge(bench)
    targets.show(where, o, bench, rows)
    if o.json:
        o.json.write_text(json.dumps({"machine": where, "runs": o.runs, "cold": o.cold, "targets": rows, "untouched": bench.untouched,
                                      "samples": {f"{case}: {who}": s for (case, who), s in bench.samples.items()}}, indent=1))


main()
