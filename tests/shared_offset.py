"""shared_offset.py FILE threads|dup|processes: eight threads, or processes, read one open file description to its end by read(2).

FILE: a model whose one tensor is U64 and counts 0, 1, 2 … Each piece that a read returns is found by its content; together the pieces
must hold every number once. Prints the number of bytes and of reads.
"""
import array
import fcntl
import os
import pickle
import sys
import threading

path, how = sys.argv[1:]
fd = os.open(path, os.O_RDONLY)
fds = [fd] * 8
if how == "dup":
    fds = [fd, os.dup(fd), fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 50), os.dup2(fd, 77)] * 2
data = 8 + int.from_bytes(os.pread(fd, 8, 0), "little")
assert data % 8 == 0 and os.lseek(fds[3], data, os.SEEK_SET) == data
pieces = [[] for _ in fds]
gate = threading.Barrier(len(fds))


def work(k):
    gate.wait()
    while b := os.read(fds[k], 8 * (100 + 37 * k)):
        pieces[k].append(b)


def child(k, go, out):
    os.read(go, 1)
    while b := os.read(fd, 8 * (3 + k)): # small ones, to meet the others often
        pieces[k].append(b)
    with os.fdopen(out, "wb") as f:
        pickle.dump(pieces[k], f)
    os._exit(0)


if how == "processes":
    go, gone = os.pipe()
    pipes = []
    for k in range(len(fds)):
        r, w = os.pipe()
        if os.fork() == 0:
            child(k, go, w)
        os.close(w)
        pipes.append(r)
    os.write(gone, bytes(len(fds)))
    for k, r in enumerate(pipes):
        pieces[k] = pickle.load(os.fdopen(r, "rb"))
else:
    threads = [threading.Thread(target=work, args=(k,)) for k in range(len(fds))]
    [t.start() for t in threads], [t.join() for t in threads]
count = (os.fstat(fd).st_size - data) // 8
seen = bytearray(count)
for b in (b for p in pieces for b in p):
    words = array.array("Q", b)
    first = words[0]
    assert words == array.array("Q", range(first, first + len(words))), "a piece is not one run of the file"
    assert not any(seen[first:first + len(words)]), "bytes were read twice"
    seen[first:first + len(words)] = b"\1" * len(words)
assert all(seen), f"{seen.count(0)} numbers were never read"
assert os.lseek(fd, 0, os.SEEK_CUR) == os.fstat(fd).st_size
assert sum(map(bool, pieces)) > 1, "only one thread read"
print(count * 8, sum(map(len, pieces)))
