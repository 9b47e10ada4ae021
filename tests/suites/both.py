"""both.py NAME KIND --preload LIB [options] -- PYTHON ARG...: a test suite that others wrote, without the preload and with it.

KIND is pytest (ARGs go to pytest) or regrtest (CPython's own: ARGs are names of its tests). Each test must come to the same on both sides.

  --preload LIB       what LD_PRELOAD is on the second side
  --encrypt           on the second side every file that safetensors saves is encrypted on the spot (encrypting.py)
  --copy FOLDER       runs in a fresh copy of FOLDER; else in a fresh empty folder
  --exceptions FILE   lines: NAME, test, outcome with, reason; tab separated. Such a test must come to exactly that under the preload
  --testdir FOLDER    of regrtest: where the tests are, if they are not CPython's own
  --leave-out PATTERN=REASON  of regrtest: tests that cannot run here, with the preload or without
  --timeout S         a run that takes longer has failed

Tests that come to something else on the two sides are run again, alone, on both sides, at most twice: some are flaky by themselves, and
are named if so. A run that ended early is run again whole; one that a signal ended on one side alone has failed. What still differs then has failed. The last line is "N same, M different".
"""
import argparse
import collections
import fnmatch
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
p = argparse.ArgumentParser()
p.add_argument("name")
p.add_argument("kind", choices=("pytest", "regrtest"))
p.add_argument("--preload", required=True)
p.add_argument("--encrypt", action="store_true")
p.add_argument("--copy", type=pathlib.Path)
p.add_argument("--exceptions", type=pathlib.Path, default=HERE / "exceptions.txt")
p.add_argument("--testdir")
p.add_argument("--leave-out", action="append", default=[])
p.add_argument("--timeout", type=int, default=1800)
p.add_argument("python")
p.add_argument("args", nargs="+")
a = p.parse_args()
tmp = pathlib.Path(tempfile.mkdtemp(prefix="suite"))
RUN = "(the run itself)"
CRASH = "(a crash)" # has no second chance: it may be ours, and rare


def read_junit(path):
    """{test: outcome} of regrtest's XML; of a test that has several entries (subtests) the worst counts."""
    out = {}
    for case in xml.parse(path).getroot().iter("testcase"):
        kinds = {e.tag for e in case}
        what = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds or case.get("result") == "suppressed" else "passed"
        name = case.get("name")
        if out.get(name) != "failed":
            out[name] = what
    return out


def one_side(preload, label, alone=None):
    """({test: outcome}, {test: how to run it alone}); alone: the tests to run, by what was returned before."""
    work = tmp / label
    if a.copy:
        shutil.copytree(a.copy, work)
    else:
        work.mkdir()
    env = dict(os.environ, SUITE_RESULTS=str(tmp / (label + ".json")), SUITE_ENCRYPTED=str(tmp / "encrypted"))
    if preload:
        env["LD_PRELOAD"] = a.preload
    if a.kind == "pytest":
        env["PYTHONPATH"] = str(HERE)
        argv = [a.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "results"]
        argv += ["-p", "encrypting"] if preload and a.encrypt else []
        argv += alone or a.args
    else:
        junit = tmp / (label + ".xml")
        argv = [a.python, "-m", "test", "--junit-xml", str(junit), "--tempdir", str(work), "--timeout", "600"]
        argv += [w for t in alone or () for w in ("--match", t)] + [w for o in a.leave_out for w in ("--ignore", o.split("=")[0])]
        argv += (["--testdir", a.testdir] if a.testdir else []) + a.args
    with open(tmp / (label + ".log"), "wb") as log:
        run = subprocess.Popen(argv, cwd=work, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            rc = run.wait(a.timeout)
        except subprocess.TimeoutExpired:
            rc = f"not at its end after {a.timeout} s"
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
    tests, how = {}, {}
    try:
        if a.kind == "pytest":
            for line in pathlib.Path(env["SUITE_RESULTS"]).read_text().splitlines():
                name, how[name], tests[name] = json.loads(line)
        else:
            tests = read_junit(junit)
            how = {t: t for t in tests}
    except (OSError, xml.ParseError) as e:
        tests[RUN] = f"no results, status {rc}: {type(e).__name__}"
    if rc not in (0, 1, 2):
        tests[RUN] = f"status {rc}"
    if isinstance(rc, int) and rc < 0:
        tests[CRASH] = signal.Signals(-rc).name
    return tests, how


def tally(tests):
    return ", ".join(f"{n} {what}" for what, n in sorted(collections.Counter(tests.values()).items()))


exceptions = {}
for line in a.exceptions.read_text().splitlines():
    if line.strip() and not line.startswith("#"):
        suite, test, outcome, reason = line.split("\t")
        if suite == a.name:
            exceptions[test] = (outcome, reason)

without, how = one_side(False, "without")
with_, how2 = one_side(True, "with")
how |= how2
for o in a.leave_out:
    print(f"# {a.name} {o.split('=')[0]}: left out on both sides: {o.split('=')[1]}")
print(f"# {a.name} without the preload: {tally(without)}")
print(f"# {a.name} with it: {tally(with_)}")
for t in sorted(t for t, what in without.items() if what not in ("passed", "skipped", "xfailed") and with_.get(t) == what):
    print(f"# {a.name} {t}: {without[t]} on both sides")
used = set()


def differ(names, left, right):
    """The tests that are not the same and are no exceptions."""
    out = []
    for t in names:
        rule = next((e for e in exceptions if fnmatch.fnmatchcase(t, e)), None)
        if rule and right.get(t) == exceptions[rule][0] and right.get(t) != left.get(t):
            used.add(rule)
            print(f"# {a.name} {t}: {left.get(t)} without, {right[t]} with: {exceptions[rule][1]}")
        elif left.get(t) != right.get(t):
            out.append(t)
    return out


different = differ(sorted(without.keys() | with_.keys()), without, with_)
for again in (1, 2):
    whole = RUN in different  # one that died has to be run whole again
    names = sorted(without.keys() | with_.keys()) if whole else [t for t in different if how.get(t)]
    if not different or not names:
        break
    before = {t: f"{without.get(t, 'not run')} without, {with_.get(t, 'not run')} with" for t in different}
    left, _ = one_side(False, f"without-{again}", None if whole else [how[t] for t in names])
    right, _ = one_side(True, f"with-{again}", None if whole else [how[t] for t in names])
    still = differ(sorted(left.keys() | right.keys()) if whole else names, left, right)
    settled = [t for t in different if t not in still and (t in left or (whole and t == RUN))]
    for t in settled:
        print(f"# {a.name} {t}: flaky: {before[t]}; run again, {left.get(t, 'well')} on both sides")
    different = sorted(set(still) | (set(different) - set(settled)))
for t in different:
    print(f"DIFFERENT {a.name} {t}: {without.get(t, 'not run')} without, {with_.get(t, 'not run')} with")
for e in sorted(exceptions.keys() - used):
    print(f"DIFFERENT {a.name} {e}: is an exception, but came to the same on both sides: take it out of {a.exceptions.name}")
    different.append(e)
if a.encrypt:
    n = len((tmp / "encrypted").read_text().splitlines()) if (tmp / "encrypted").exists() else 0
    print(f"# {a.name}: {n} files were encrypted on the disk")
    if not n:
        print(f"DIFFERENT {a.name}: no file was encrypted")
        different.append("encrypted")
if not any(w == "passed" for w in without.values()):
    print(f"DIFFERENT {a.name}: no test passed")
    different.append("passed")
if different:
    for label in ("without", "with"):
        text = (tmp / (label + ".log")).read_text(errors="replace")
        print(f"# {label}, its end:\n" + "\n".join("#   " + line for line in text.splitlines()[-40:]))
if not os.environ.get("SUITES_KEEP"):
    shutil.rmtree(tmp, ignore_errors=True)
else:
    print(f"# kept: {tmp}")
print(f"{len((without.keys() | with_.keys()) - set(different))} same, {len(different)} different")
sys.exit(bool(different))
