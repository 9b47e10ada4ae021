"""targets: what scripts/bench is to show, as a table: a figure, its target, reached or not; and the table of all figures."""
import statistics

MIB = 1 << 20


class Figures:
    """None wherever something was not measured."""

    def __init__(self, bench):
        self.bench = bench

    def s(self, case, *contenders):
        """The sum of their medians, in seconds."""
        found = [self.bench.median(case, c) for c in contenders]
        return None if None in found else sum(found)

    def ratio(self, case, *against, who="shim"):
        top, bottom = self.s(case, who), self.s(case, *against)
        return None if top is None or bottom is None else top / bottom

    def peak(self, case, who):
        return self.bench.median(case, who, "peak")

    def over(self, case, share=0.0):
        """MiB by which the peak is above that of the plain file plus a share of that."""
        shim, plain = self.peak(case, "shim"), self.peak(case, "plain")
        return None if shim is None or plain is None else (shim - plain * (1 + share)) / MIB

    def peak_ratio(self, case):
        shim, ref = self.peak(case, "shim"), self.peak(case, "ref")
        return None if shim is None or ref is None else shim / ref


def judge(bench):
    """[{name, figure, unit, target, met}]; what was not measured is left out."""
    f, rows = Figures(bench), []

    def row(name, figure, target, unit="×"):
        if figure is not None:
            rows.append({"name": name, "figure": figure, "unit": unit, "target": target, "met": figure <= target})

    for m in ("gpt2", "qwen3"):
        row(f"torch, {m}: against the reference", f.ratio(f"torch {m}", "ref"), 0.5)
        row(f"torch, {m}: against plain + floor", f.ratio(f"torch {m}", "plain", "floor"), 1.15)
        row(f"torch, {m}: memory above plain + 2 %", f.over(f"torch {m}", 0.02), 16, "MiB")
        row(f"torch, {m}: memory against the reference", f.peak_ratio(f"torch {m}"), 1.0)
    row("numpy, gpt2: against plain", f.ratio("numpy gpt2", "plain"), 1.1)
    row("numpy, gpt2, one core: against plain + floor", f.ratio("numpy, one core gpt2", "plain", "floor"), 1.0)
    row("numpy, gpt2: memory above plain", f.over("numpy gpt2"), 64, "MiB")
    for m in ("gpt2", "qwen3"):
        row(f"load without touching, {m}: against plain", f.ratio(f"untouched {m}", "plain"), 1.5)
    row("safe_open, 310 tensors: against the reference", f.ratio("open qwen3", "ref"), 0.7)
    row("safe_open, 4,096 tensors: against the reference", f.ratio("open many", "ref"), 0.7)
    row("safe_open, 100,000 tensors", f.s("open swarm", "shim"), 1.0, "s")
    row("a tenth of the tensors: against the reference", f.ratio("tenth qwen3", "ref"), 0.5)
    for m in ("qwen3", "one"):
        row(f"a row by get_slice, {m}: against the reference", f.ratio(f"row {m}", "ref"), 0.05)
    for m in ("gpt2", "qwen3"):
        row(f"transformers, {m}: against the reference", f.ratio(f"transformers {m}", "ref"), 0.6)
        row(f"transformers, {m}: against plain + floor", f.ratio(f"transformers {m}", "plain", "floor"), 1.15)
    row("ct encrypt: against the reference's save_file", f.ratio("encrypt qwen3", "ref"), 0.4)
    row("ct encrypt: against its floor", f.ratio("encrypt qwen3", "floor"), 1.25)
    row("ct verify: against the floor", f.ratio("verify qwen3", "floor"), 1.15)
    for c in ("encrypt", "decrypt", "verify", "rewrap"):
        peak = f.peak(f"{c} qwen3", "shim")
        row(f"ct {c}: memory", peak and peak / MIB, 100, "MiB")
    row("two processes: against plain + floor of two", f.ratio("2 processes qwen3", "plain", "floor"), 1.1)
    starts = [r["more"][0] / 1000 for r in bench.untouched if r["kind"] == "start"]
    row("start-up of unrelated programs", max(starts, default=None), 0.5, "ms")
    if doors := [r for r in bench.untouched if r["kind"] != "start"]:
        row("calls of unrelated programs over their budget", sum(not r["met"] for r in doors), 0, f"of {len(doors)}")
    return rows


def size(v):
    return "" if v is None else f"{v / MIB:.0f}"


def show(machine, options, bench, rows):
    warm = "cold: files taken out of the page cache before each sample" if options.cold else "page cache warm"
    print(f"{machine['date']}: {machine['cpu']}, {machine['cores']} cores, Linux {machine['kernel']}, huge pages {machine['huge_pages']}, "
          f"{machine['openssl']}; load {machine['load']:.1f} at the start, {machine['load_end']:.1f} at the end")
    print(f"{options.runs} rounds, interleaved, {warm}; medians. Seconds are of the work alone, cpu of all threads, memory in MiB\n")
    print(f"{'case':<26}{'contender':<10}{'seconds':>10}{'least':>10}{'cpu':>9}{'peak':>7}{'anon':>7}{'other':>7}{'decrypted':>11}   against")
    last = None
    for (case, who), samples in sorted(bench.samples.items(), key=lambda s: list(bench.samples).index(s[0])):
        if case != last:
            names = {c: bench.median(case, c) for k, c in bench.samples if k == case}
            for c in ("plain", "ref", "shim", "also", "floor", "huge"):
                if c in names:
                    line(bench, case, c, names)
            last = case
    print(f"\n{'target':<52}{'figure':>10}{'':<7}{'target':<10}verdict")
    for r in rows:
        print(f"{r['name']:<52}{r['figure']:>10.3g} {r['unit']:<6}≤ {r['target']:<8g}{'reached' if r['met'] else 'NOT REACHED'}")
    print(f"{sum(r['met'] for r in rows)} of {len(rows)} reached")
    if max(machine["load"], machine["load_end"]) > machine["cores"]:
        print("Others were at work on this machine: provisional.")


def line(bench, case, who, names):
    samples = bench.samples[(case, who)]

    def med(what):
        found = [s[what] for s in samples if what in s]
        return statistics.median(found) if found else None

    against = "  ".join(f"{o} {names[who] / names[o]:.2f}" for o in ("plain", "ref", "floor") if o in names) if who in ("shim", "also") else ""
    if who in ("shim", "also") and "plain" in names and "floor" in names:
        against += f"  plain+floor {names[who] / (names['plain'] + names['floor']):.2f}"
    print(f"{case if who == min(names, key=order) else '':<26}{who:<10}{med('seconds'):>10.4f}{min(s['seconds'] for s in samples):>10.4f}{med('cpu'):>9.3f}"
          f"{size(med('peak')):>7}{size(med('anonymous')):>7}{size(med('other')):>7}{size(med('bytes_decrypted')):>11}   {against}")


def order(who):
    return ("plain", "ref", "shim", "also", "floor", "huge").index(who)
