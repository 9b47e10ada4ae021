"""A policy engine that does what the policy's text tells it to: `engine.py FOLDER [ARGS]`, behind the interface of docs/POLICY.md.

The policy's first line is `# WORD …`. What it saw is written to FOLDER/PID: input.json, policy, facts.json.
"""
import ast
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

folder = pathlib.Path(sys.argv[1])
policy = os.read(3, 1 << 21)
word = policy.split()[1].decode()
text = sys.stdin.buffer.read()
out = folder / str(os.getpid())
out.mkdir()
(out / "input.json").write_bytes(text)
(out / "policy").write_bytes(policy)
try:
    os.lseek(3, 0, 0)
    writable = os.write(3, b"x") > 0
except OSError:
    writable = False
(out / "facts.json").write_text(json.dumps({
    "argv": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd(), "policy_writable": writable,
    "fds": sorted(int(f) for f in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{f}")),
    "out": os.readlink("/proc/self/fd/1"), "pgid": os.getpgid(0) == os.getpid(), "order": os.getppid()}))


def say(what):
    os.write(4, what)


def orphan(code):
    """A process in a session of its own that nobody waits for."""
    subprocess.Popen([sys.executable, "-c", f"import os, time\nopen({str(out / 'orphan')!r}, 'w').write(str(os.getpid()))\n{code}"],
                     start_new_session=True, close_fds=False)
    while not (out / "orphan").exists() or not (out / "orphan").read_text():
        time.sleep(0.01)


if word in ("true", "false", "undefined"):
    say(word.encode())
elif word == "loop":
    orphan("time.sleep(1000)")
    while True:
        pass
elif word == "orphan":  # a verdict, and somebody left behind
    orphan("time.sleep(1000)")
    say(b"true")
elif word == "late":  # no verdict, but somebody who would give one
    orphan("time.sleep(0.3)\nos.write(4, b'true')")
elif word == "twice":
    say(b"true")
    say(b"true")
elif word == "newline":
    say(b"true\n")
elif word == "stdout":
    os.write(1, b"true")
elif word == "nothing":
    pass
elif word == "status":
    say(b"true")
    sys.exit(1)
elif word == "dies":
    say(b"true")
    os.kill(os.getpid(), signal.SIGKILL)
elif word == "words":  # what stands behind is a Python literal, for stderr
    os.write(2, ast.literal_eval(policy.split(b"\n")[0].split(None, 2)[2].decode()))
    sys.exit(4)
elif word == "shouts":  # more than any pipe holds
    for _ in range(100):
        os.write(2, b"more\n" * 4000)
    say(b"true")
elif word == "holds":  # somebody is left behind who keeps stderr open
    orphan("time.sleep(1000)")
    os.write(2, b"held")
    sys.exit(1)
elif word == "floods":
    while True:
        say(b"true" * 100000)
elif word == "forks":
    for _ in range(200):
        if os.fork() == 0:
            os.setsid()
            time.sleep(1000)
    say(b"true")
elif word == "wait":  # until the test says so, or the agent ends it
    (folder / "waiting").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    say(b"true")
elif word == "expect":  # what stands behind is Python over the input
    ok = eval(policy.split(b"\n")[1], {"input": json.loads(text)})  # noqa: S307
    say(b"true" if ok is True else b"false")
