"""lazy_mp.py FILE REFERENCE: multiprocessing's start methods read one mapping, and their own; prints "METHOD right" or what was wrong."""
import mmap
import multiprocessing
import os
import sys
import threading

mapped = None


def map_file(path):
    with open(path, "rb") as f:
        return mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)


def work(args):
    """One part of the file, from the mapping that was inherited if there is one, and from one of this process."""
    path, reference, a, b = args
    want = open(reference, "rb").read()[a:b]
    own = map_file(path)
    right = own[a:b] == want and (mapped is None or mapped[a:b] == want)
    own[a:b] = bytes(b - a)
    return right and (mapped is None or mapped[a:b] == want) and mapped is not None, right, os.getpid()


def run(method, path, reference):
    size, step = os.path.getsize(reference), 400000
    parts = [(path, reference, a, min(a + step, size)) for a in range(0, size, step)]
    with multiprocessing.get_context(method).Pool(3) as pool:
        got = pool.map(work, parts, chunksize=1)
    right = all(r for _, r, _ in got) and os.getpid() not in {p for _, _, p in got}
    if method == "fork":  # the others inherit nothing
        right = right and all(i for i, _, _ in got)
    return right and mapped[:] == open(reference, "rb").read()


def main(path, reference):
    global mapped
    mapped = map_file(path)
    half = len(mapped) // 2
    want = open(reference, "rb").read()
    assert mapped[:half] == want[:half]
    for method in ("fork", "forkserver", "spawn"):
        print(method, "right" if run(method, path, reference) else "wrong", flush=True)

    stop, bad, fresh = threading.Event(), [], map_file(path)

    def roam():
        at = 0
        while not stop.is_set():
            at = (at + 1234567) % (len(want) - 100)
            if fresh[at:at + 100] != want[at:at + 100]:
                bad.append(at)
    threads = [threading.Thread(target=roam) for _ in range(3)]
    for t in threads:
        t.start()
    for _ in range(3):
        bad += [] if run("fork", path, reference) else [-1]
    stop.set()
    for t in threads:
        t.join()
    print("threads and fork", "wrong" if bad else "right")


if __name__ == "__main__":
    main(*sys.argv[1:])
