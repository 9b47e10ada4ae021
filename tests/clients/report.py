"""report.py WORK --var NAME=VALUE... [--only A,B] [--write FILE]: what scripts/test-clients saw; last line "N passed, M failed".

WORK has plain.log and out.log (what matrix.py said), plain/ and out/ (what the clients printed), models/, encrypted/ and keys.jwk.
--write makes FILE out of CLIENTS.md.in beside this script: @TABLE@ is the table, @COUNT@ the last line,
@VERSION@ ours, @SYSTEM@ where it was run.
"""
import argparse
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import judge  # noqa: E402

p = argparse.ArgumentParser()
p.add_argument("work", type=pathlib.Path)
p.add_argument("--var", action="append", default=[])
p.add_argument("--only", default="")
p.add_argument("--write", type=pathlib.Path)
a = p.parse_args()
var = dict(v.split("=", 1) for v in a.var)


def lines(path):
    return [l.split("\t") for l in path.read_text().splitlines() if l.strip() and not l.startswith("#")]


def verdicts(log):
    """{row: (verdict, seconds)} of what matrix.py printed."""
    out = {}
    for line in log.read_text().splitlines():
        if m := re.match(r"(ok|FAILED \(.*?\)) +(\S+) +([\d.]+) s$", line):
            out[m[2]] = (m[1], m[3])
        elif m := re.match(r"left out (\S+)", line):
            out[m[1]] = ("left out", "")
    return out


def view(path):
    """sha256 of the view of an encrypted file, by the independent reader."""
    data, bad = judge.view(path.read_bytes(), json.loads((a.work / "keys.jwk").read_text()))
    assert not bad, path
    return hashlib.sha256(data).hexdigest()


def encrypted(row, kind, command, said):
    """What to say of a row under the preload; said: matrix.py's verdict."""
    if said != "ok":
        return said
    if any(l.startswith("ctshim:") for l in (a.work / "out" / (row + ".err")).read_text(errors="replace").splitlines()):
        return "FAILED (the shim had something to say)"
    if kind == "whole":
        file = a.work / "encrypted" / re.search(r"{M}/(\S+)", command)[1]
        if {l.split()[-1] for l in (a.work / "out" / (row + ".txt")).read_text().splitlines()} != {view(file)}:
            return "FAILED (not the bytes of the view)"
    return "ok"


def shell(command):
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout.strip()


def system():
    """What the result depends on, and nothing that names the machine."""
    kernel = ".".join(os.uname().release.split(".")[:2])
    doctor = subprocess.run(["build/ct", "doctor"], capture_output=True, text=True).stdout
    method = re.search(r"^\w+ +method +([\w-]+)", doctor, re.M)[1]
    release = shell('. /etc/os-release && echo "$NAME $VERSION_ID"')
    return f"{release}, {shell('getconf GNU_LIBC_VERSION')}, Linux {kernel}, method {method}"


def version(source):
    if source.startswith("$"):
        return shell(source[1:])
    name, _, package = source.partition(":")
    if name == "NODE":
        return json.loads((pathlib.Path(var[name]) / "node_modules" / package / "package.json").read_text())["version"]
    if name == "LLAMA":
        return " ".join((pathlib.Path(var[name]).parents[1] / "stamp").read_text().split(",")[0].split())
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([var[name], "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def fenced(cell):
    return cell.replace("|", "\\|")


plain, out = verdicts(a.work / "plain.log"), verdicts(a.work / "out.log")
matrix = {r: (kind, command) for r, kind, command in lines(HERE / "matrix.tsv")}
wanted = [r for r in matrix if not a.only or r in a.only.split(",")]
results, passed = {}, 0
for row in wanted:
    before, t0 = plain.get(row, ("left out", ""))
    after, t1 = out.get(row, ("left out", ""))
    after = encrypted(row, *matrix[row], after)
    results[row] = (before, after, t0, t1)
    good = before == after == "ok"
    passed += good
    if not good:
        print(f"not ok {row}: plain {before}, encrypted {after}")
        for side in ("plain", "out"):
            err = a.work / side / (row + ".err")
            for line in err.read_text(errors="replace").splitlines()[-5:] if err.exists() else []:
                print(f"#   {side}: {line}")
count = f"{passed} passed, {len(wanted) - passed} failed"

if a.write:
    groups = lines(HERE / "readers.tsv")
    told = [r for g in groups for r in g[0].split(",")]
    assert sorted(told) == sorted(matrix), f"readers.tsv and matrix.tsv differ: {set(told) ^ set(matrix)}"
    table = ["| client | version | how it reads the file | run | plain | encrypted | s, plain | s, encrypted |", "|---|---|---|---|---|---|---|---|"]
    for rows, client, source, how in groups:
        head = [fenced(client), version(source), fenced(how)]
        for row in rows.split(","):
            table.append("| " + " | ".join([*head, row, *results[row]]) + " |")
            head = ["", "", ""]
    text = (HERE / "CLIENTS.md.in").read_text().replace("@TABLE@", "\n".join(table)).replace("@COUNT@", count)
    text = text.replace("@VERSION@", shell("build/ct --version").split()[-1]).replace("@SYSTEM@", system())
    tmp = a.write.with_suffix(".tmp")
    tmp.write_text(text)
    os.replace(tmp, a.write)
    print(f"# wrote {a.write}")
print(count)
sys.exit(passed != len(wanted) or not passed)
