"""What attackers of the agent do, for attacks.bats: python3 attacks.py ATTACK …, the socket in CT_AGENT_SOCK.

  exec FILE PROGRAM          connects, then becomes PROGRAM (a shell) on the same connection, which asks for FILE's keys
  fork FILE PROGRAM          connects and waits; its child becomes PROGRAM, and asks on its parent's connection
  request FILE               prints the request for FILE's keys
  pass UID OTHER OP [FILE]   UID connects and stays; OTHER gets the connection by SCM_RIGHTS, and asks on it
  silent UID                 connects as UID, sends nothing, and says what comes
  server PATH COUNT          a socket of its own at PATH, which takes COUNT connections; prints how many bytes each has sent
  splice OUT FILE POLICY     FILE's header with another policy, and nothing else changed
  graft OUT HEADER DATA      the header of one file before the data of another

exec, fork, pass and silent print the reply's JSON.
"""
import json
import os
import socket
import struct
import sys
import tempfile

import peer


def reply_on(s):
    got = b""
    try:
        while part := s.recv(1 << 16):
            got += part
    except ConnectionResetError:
        pass  # behind the reply: the request was not read
    return peer.show((json.loads(got[8:8 + struct.unpack("<I", got[:4])[0]]), b"") if got else None)


def becoming(path, program, s):
    """The program, with the connection as descriptor 8 and the request as 9; cat asks for it, so that the shell stays what it is."""
    with tempfile.TemporaryFile() as request:
        request.write(peer.open_frame(path))
        request.seek(0)
        s.setblocking(True)
        os.dup2(s.fileno(), 8)
        os.dup2(request.fileno(), 9)
        os.execv(program, [program, "-c", "cat <&9 >&8; cat <&8 | tail -c +9"])


def attack_exec(path, program):
    becoming(path, program, peer.dial())


def attack_fork(path, program):
    s = peer.dial()
    sys.stdout.flush()
    if not (child := os.fork()):
        becoming(path, program, s)
    os.waitpid(child, 0)


def attack_request(path):
    sys.stdout.buffer.write(peer.open_frame(path))


# ---- whose connection it is ----

def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def attack_pass(uid, other, op, path=None):
    frame = peer.open_frame(path) if path else peer.frame({"v": 1, "op": op, "all": True})
    here, there = socket.socketpair()
    if not os.fork():
        here.close()
        become(int(uid))
        s = peer.dial()
        socket.send_fds(there, [b"x"], [s.fileno()])
        there.recv(1)  # until the other one has his answer
        os._exit(0)
    there.close()
    _, fds, _, _ = socket.recv_fds(here, 1, 1)
    become(int(other))
    s = socket.socket(fileno=fds[0])
    s.settimeout(30)
    try:
        s.sendall(frame)
    except BrokenPipeError:
        pass  # refused before it was read
    reply_on(s)
    here.send(b"x")
    os.wait()


def attack_silent(uid):
    become(int(uid))
    reply_on(peer.dial())


def attack_server(path, count):
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    os.chmod(path, 0o666)
    s.listen()
    for _ in range(int(count)):
        c, _ = s.accept()
        got = 0
        try:
            while part := c.recv(1 << 16):
                got += len(part)
        except ConnectionResetError:
            pass
        print(got, flush=True)


# ---- headers ----

def attack_splice(out, path, policy):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    old = json.dumps(json.loads(json.loads(raw[8:8 + n])["__metadata__"]["__policy__"])["local"])[1:-1]
    inside = lambda text: json.dumps(text)[1:-1].encode()
    head = raw[8:8 + n].replace(b'\\"local\\":\\"' + inside(old), b'\\"local\\":\\"' + inside(inside(policy).decode()))
    assert head != raw[8:8 + n]
    head += b" " * (-len(head) % 8)
    open(out, "wb").write(struct.pack("<Q", len(head)) + head + raw[8 + n:])


def attack_graft(out, header, data):
    a, b = (open(p, "rb").read() for p in (header, data))
    cut = lambda raw: 8 + struct.unpack("<Q", raw[:8])[0]
    assert len(a) - cut(a) == len(b) - cut(b)
    open(out, "wb").write(a[:cut(a)] + b[cut(b):])


if __name__ == "__main__":
    globals()["attack_" + sys.argv[1]](*sys.argv[2:])
