"""What systemd does for a service with a socket: manager.py FOLDER [--fds N] [--type stream|dgram|tcp|bound] [--notify ADDRESS] [--pid N] -- CMD…

Passes a socket at FOLDER/s on as descriptor 3, writes what it is told by NOTIFY_SOCKET to FOLDER/told, a line a message, the sender's pid before it, and ends with
CMD's status. The socket stays when CMD has ended, and CMD is started once more if FOLDER/again is there.
"""
import argparse
import os
import pathlib
import select
import socket
import struct
import sys

parser = argparse.ArgumentParser()
parser.add_argument("folder", type=pathlib.Path)
parser.add_argument("--fds", default="1")
parser.add_argument("--type", default="stream")
parser.add_argument("--notify")
parser.add_argument("--pid")
at = sys.argv.index("--")
o, cmd = parser.parse_args(sys.argv[1:at]), sys.argv[at + 1:]

if o.type == "tcp":
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
else:
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if o.type == "dgram" else socket.SOCK_STREAM)
    s.bind(str(o.folder / "s"))
if o.type in ("stream", "tcp"):
    s.listen()

address = o.notify or str(o.folder / "notify")
told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
told.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
told.bind("\0" + address[1:] if address[0] == "@" else address)


def start():
    pid = os.fork()
    if pid:
        return pid
    os.environ.update(LISTEN_PID=o.pid or str(os.getpid()), LISTEN_FDS=o.fds, LISTEN_FDNAMES="x", NOTIFY_SOCKET=address)
    for fd in range(int(o.fds)):
        os.dup2(s.fileno(), 3 + fd)
        os.set_inheritable(3 + fd, True)  # it may have been that very descriptor
    os.execv(cmd[0], cmd)


def listen(pid):
    with open(o.folder / "told", "a", buffering=1) as out:
        end = os.pidfd_open(pid)
        while True:
            ready = select.select([told, end], [], [])[0]
            while select.select([told], [], [], 0)[0]:
                text, ancillary, _, _ = told.recvmsg(4096, 256)
                sender = struct.unpack("iii", ancillary[0][2])[0]
                out.write(f"{sender} {text.decode().replace(chr(10), ' ')}\n")
            if end in ready:
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


status = listen(start())
while (o.folder / "again").exists():
    select.select([s], [], [])
    status = listen(start())
sys.exit(status)
