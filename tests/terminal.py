#!/usr/bin/env python3
"""terminal.py ANSWER… -- CMD…: CMD on a terminal of its own; each ANSWER is typed when a prompt (": ") waits with the echo off.

Prints what the terminal shows, then "[echo on]" or "[echo off]": the state that CMD left behind. An ANSWER ^C, ^Z or ^\\ is that key; after ^Z
the program is continued. Exits with CMD's status, 128 + n after a signal; 99: nobody asked for the last answer, or a prompt would have shown it.
"""
import fcntl, os, pty, select, signal, sys, termios, time

KEYS = {"^C": b"\x03", "^Z": b"\x1a", "^\\": b"\x1c"}


def echo(fd):
    return bool(termios.tcgetattr(fd)[3] & termios.ECHO)


def main():
    at = sys.argv.index("--")
    answers, cmd = sys.argv[1:at], sys.argv[at + 1:]
    master, slave = pty.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in 0, 1, 2:
            os.dup2(slave, fd)
        os.closerange(3, 100)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # A leader of a session with children: a stop is not ignored, as it would be in an orphaned group.
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            os.tcsetpgrp(0, os.getpid())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            os.execvp(cmd[0], cmd)
        while True:
            _, status = os.waitpid(child, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            print("[stopped, %s]" % ("echo on" if echo(0) else "echo off"), flush=True)
            os.kill(child, signal.SIGCONT)
        rc = os.waitstatus_to_exitcode(status)
        os._exit(rc if rc >= 0 else 128 - rc)
    out, fresh, end = b"", b"", time.monotonic() + 100
    done = None
    while time.monotonic() < end:
        if select.select([master], [], [], 0.05)[0]:
            part = os.read(master, 4096)
            out += part
            fresh += part
            continue
        if done is not None:
            break
        if fresh.endswith(b": ") and answers:
            if echo(slave):
                time.sleep(0.05)  # a program may ask first and hide afterwards
                if echo(slave):
                    sys.exit("the prompt would show the answer") or 99
            a = answers.pop(0)
            fresh = b""
            os.write(master, KEYS.get(a, a.encode() + b"\n"))
        got, status = os.waitpid(pid, os.WNOHANG)
        if got:
            done = os.waitstatus_to_exitcode(status)
    if done is None:
        os.kill(pid, signal.SIGKILL)
        done = 98
    sys.stdout.write(out.decode(errors="replace").replace("\r\n", "\n"))
    print("[echo on]" if echo(slave) else "[echo off]")
    if answers:
        print("nobody asked for", len(answers), "of the answers")
        done = 99
    sys.exit(done)


main()
