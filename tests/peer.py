"""The agent's protocol (docs/PROTOCOL.md) from the outside, for agent.bats: python3 peer.py COMMAND …, the socket in CT_AGENT_SOCK.

  ask JSON [BLOBFILE]       prints the reply's JSON, then the blob if it is text
  hex FRAME                 sends those bytes, prints the reply's JSON
  open FILE [KEYS]          opens FILE; with KEYS the data keys must be those that judge.py unwraps
  resign IN OUT KEYS KID    a copy signed anew with that key of KEYS (its kid is written into the file)
  idle N SECONDS            N connections that send half a frame and wait; says "ready"; then how many were closed
  fuzz FILE ROUNDS          mutated requests; every reply must be well-formed, and none may hold data keys that are wrong
  search PID HEX            "found" or "gone": the bytes in the process's memory
"""
import base64
import ctypes
import json
import os
import random
import re
import socket
import struct
import sys
import time

import judge


def dial():
    s = socket.socket(socket.AF_UNIX)
    s.connect(os.environ["CT_AGENT_SOCK"])  # blocking: waits where the backlog is full
    s.settimeout(15)
    return s


def frame(request, blob=b""):
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    return struct.pack("<II", len(text), len(blob)) + text + blob


def exchange(raw):
    """(reply, blob), or None if the agent closed without a word."""
    s = dial()
    try:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
    except BrokenPipeError:
        pass
    got = b""
    while True:
        try:
            part = s.recv(1 << 20)
        except ConnectionResetError:
            break
        if not part:
            break
        got += part
    s.close()
    if not got:
        return None
    n, b = struct.unpack("<II", got[:8])
    assert len(got) == 8 + n + b, "the frame's lengths do not fit what came"
    return json.loads(got[8:8 + n]), got[8 + n:]


def show(answer):
    if answer is None:
        print("closed")
        return
    print(json.dumps(answer[0], separators=(",", ":"), sort_keys=True))
    if answer[1][:1] == b"{":
        print(answer[1].decode())


def header_of(path):
    raw = open(path, "rb").read()
    return raw[:8 + struct.unpack("<Q", raw[:8])[0]], len(raw)


def open_frame(path):
    head, size = header_of(path)
    return frame({"v": 1, "op": "open", "size": size}, head)


def data_keys(path, keys):
    meta = judge.split(open(path, "rb").read())[2]
    crypto, entries = json.loads(meta["__crypto_keys__"]), json.loads(meta["__encryption__"])
    kek = base64.b64decode(judge._key(json.load(open(keys)), "oct", crypto["enc"].get("kid"))["k"])
    part = lambda e, name: base64.b64decode(e[name])
    return b"".join(judge.aead_open(judge.spelled(crypto["enc"]["alg"]), kek, part(e, "key_iv"), part(e, "wrapped_key"), part(e, "key_tag"))
                    for _, e in sorted(entries.items(), key=lambda i: i[0].encode()))


def sign(seed, message):
    c = judge._c
    c.EVP_PKEY_new_raw_private_key.restype = c.EVP_MD_CTX_new.restype = ctypes.c_void_p
    key = ctypes.c_void_p(c.EVP_PKEY_new_raw_private_key(1087, None, seed, ctypes.c_size_t(len(seed))))
    ctx, out, n = ctypes.c_void_p(c.EVP_MD_CTX_new()), ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    assert c.EVP_DigestSignInit(ctx, None, None, None, key) == 1
    assert c.EVP_DigestSign(ctx, out, ctypes.byref(n), message, ctypes.c_size_t(len(message))) == 1
    return out.raw


def resign(src, dst, keys, kid):
    raw = open(src, "rb").read()
    n, head, meta, tensors = judge.split(raw)
    compact = lambda v: json.dumps(v, ensure_ascii=False, separators=(",", ":"))
    crypto = json.loads(meta["__crypto_keys__"])
    crypto["sign"]["kid"] = kid
    meta["__crypto_keys__"] = compact(crypto)

    def text(with_signature):
        shown = {k: meta[k] for k in sorted(meta, key=lambda k: k.encode()) if with_signature or k != "__signature__"}
        parts = ['"__metadata__":' + compact(shown)]
        parts += [compact(name) + ":" + compact({"dtype": d, "shape": s, "data_offsets": [a, b]}) for name, d, s, a, b in tensors]
        return ("{" + ",".join(parts) + "}").encode()
    seed = base64.b64decode([k for k in json.load(open(keys))["keys"] if k["kty"] == "okp" and k["kid"] == kid][0]["d"])
    meta["__signature__"] = base64.b64encode(sign(seed, text(False))).decode()
    out = text(True)
    out += b" " * (-len(out) % 8)
    open(dst, "wb").write(struct.pack("<Q", len(out)) + out + raw[8 + n:])


def idle(count, seconds):
    peers = []
    for _ in range(count):
        s = dial()
        s.setblocking(False)
        s.send(b"\x13\0\0\0")
        peers.append(s)
    print("ready", flush=True)
    time.sleep(seconds)
    closed = 0
    for s in peers:
        try:
            closed += s.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionResetError:
            closed += 1
    print(closed)


def fuzz(path, rounds):
    rng = random.Random(1)
    head, size = header_of(path)
    right = exchange(open_frame(path))[1]
    assert right
    explain = {"v": 1, "op": "explain", "size": size, "claims": {"a": "b\u00e9", "n": -1.5, "t": True}}
    seeds = [open_frame(path), frame(explain, head), frame({"v": 1, "op": "status"}), frame({"v": 1, "op": "remove", "set": 99}),
             frame({"v": 1, "op": "add", "lifetime": 9}, b'{"keys":[{"kty":"oct","alg":"aes256gcm","k":"AA=="}]}'),
             frame({"v": 1, "op": "add", "uids": [1, 2], "exes": ["/a\u00e9", "*"], "opens": 3, "confirm": False}, b'{"keys":[7]}'),
             frame(dict(explain, pid=os.getpid()), head)]
    served = refused = 0
    for _ in range(rounds):
        b = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(b)) if rng.random() < 0.5 else rng.randrange(min(len(b), 60))
            kind = rng.randrange(5)
            if kind == 0:
                b[at] ^= 1 << rng.randrange(8)
            elif kind == 1:
                b[at] = rng.choice(b'"{}[]:,0\\\x00\xff')
            elif kind == 2:
                del b[at:at + rng.randrange(1, 9)]
            elif kind == 3:
                b[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
            else:
                b[at:at] = b[at:at + rng.randrange(1, 40)]
            b = b or bytearray(b"x")
        answer = exchange(bytes(b))
        if answer is None:
            continue
        reply, blob = answer
        assert reply["v"] == 1 and reply["ok"] in (True, False)
        if "policy" in reply:
            assert "peer" in json.loads(blob) and right not in blob
        elif reply.get("disposition") == "serve":
            assert blob == right
            served += 1
        else:
            assert not reply.get("reason") or reply["reason"].isprintable()
            refused += not reply["ok"]
    print("served", served, "refused", refused)
    assert refused > rounds // 10


def search(pid, needle):
    needle = bytes.fromhex(needle)
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            a, b = (int(x, 16) for x in re.match(r"(\w+)-(\w+) r", line).groups()) if re.match(r"\w+-\w+ r", line) else (0, 0)
            if b - a > 1 << 30 or not b:
                continue
            try:
                mem.seek(a)
                if needle in mem.read(b - a):
                    print("found")
                    return
            except (OSError, OverflowError):
                continue
    print("gone")


def main(command, *args):
    if command == "ask":
        show(exchange(frame(args[0].encode(), open(args[1], "rb").read() if args[1:] else b"")))
    elif command == "hex":
        show(exchange(bytes.fromhex(args[0])))
    elif command == "open":
        answer = exchange(open_frame(args[0]))
        show((answer[0], b""))
        if args[1:]:
            assert answer[1] == data_keys(args[0], args[1]) != b"", "other data keys than the judge's"
    elif command == "resign":
        resign(*args)
    elif command == "idle":
        idle(int(args[0]), float(args[1]))
    elif command == "fuzz":
        fuzz(args[0], int(args[1]))
    elif command == "search":
        search(*args)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(*sys.argv[1:])
