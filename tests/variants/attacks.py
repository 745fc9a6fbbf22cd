"""What hostile code would do inside a worker: functions of ``Custom`` recipes, which run where decoders do."""

from __future__ import annotations

import ctypes
import encodings.idna  # noqa: F401 - a decoder could have loaded it
import errno
import io
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

_libc = ctypes.CDLL(None, use_errno=True)
_remembered: list[int] = []


def said(lines: list[str]) -> Image.Image:
    """Return a text as pixels, which is all that leaves a worker."""
    text = "\n".join(lines).encode()
    return Image.frombytes("L", (len(text), 1), text)


def tried(**attacks: Callable[[], Any]) -> Image.Image:
    lines = []
    for name, attack in attacks.items():
        try:
            lines.append(f"{name}: reached {attack()!r}"[:200])
        except OSError as error:
            lines.append(f"{name}: {type(error).__name__}")
    return said(lines)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(10)


def _native(name: str, *arguments: Any) -> Any:
    if getattr(_libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)
    return name


def files(image: Image.Image, there: str) -> Image.Image:
    return tried(
        file=lambda: _read(there),
        passwords=lambda: _read("/etc/passwd"),
        environment=lambda: _read("/proc/self/environ"),
        parent=lambda: _read(f"/proc/{os.getppid()}/environ"),
        memory=lambda: _read("/proc/self/mem"),
        folder=lambda: os.listdir("/"),
        link=lambda: os.readlink("/proc/self/exe"),
        facts=lambda: os.stat(there),
        write=lambda: open(f"{there}.new", "wb"),
        remove=lambda: os.remove(there),
        chdir=lambda: os.chdir("/"),
        shared=lambda: _native("shmget", 1, 4096, 0o1600),
    )


def network(image: Image.Image, port: int) -> Image.Image:
    return tried(
        internet=lambda: socket.create_connection(("127.0.0.1", port), timeout=2),
        names=lambda: socket.getaddrinfo("localhost", 80),
        local=lambda: socket.socket(socket.AF_UNIX),
        pair=socket.socketpair,
        packets=lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
    )


def processes(image: Image.Image) -> Image.Image:
    return tried(
        fork=os.fork,
        run=lambda: subprocess.run(["/bin/true"], check=False),
        become=lambda: os.execv("/bin/true", ["true"]),
        kill=lambda: os.kill(os.getppid(), signal.SIGKILL),
        group=lambda: os.killpg(os.getpgid(0), signal.SIGKILL),
        trace=lambda: _native("ptrace", 16, os.getppid(), 0, 0),
        look=lambda: _native("process_vm_readv", os.getppid(), 0, 0, 0, 0, 0),
        code=lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC),
        limits=lambda: _native("setrlimit", 0, ctypes.create_string_buffer(16)),
        privileges=lambda: os.setuid(0),
        keyring=lambda: _native("syscall", 250, 0, 0, 0, 0),
        namespaces=lambda: _native("unshare", 0x10000000),
    )


def surroundings(image: Image.Image) -> Image.Image:
    descriptors = [number for number in range(256) if _is_open(number)]
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    loaded = sorted({name.partition(".")[0] for name in sys.modules} & {"sqlalchemy", "obstore", "pytest"})
    return said([",".join(os.environ), str(len(descriptors)), ",".join(loaded), ",".join(sys.argv[2:])])


def _is_seekable(number: int) -> bool:
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError:
        return False
    return True


def _is_open(number: int) -> bool:
    try:
        os.lseek(number, 0, os.SEEK_CUR)
    except OSError as error:
        return error.errno != errno.EBADF
    return True


def remember(image: Image.Image) -> Image.Image:
    _remembered.append(1)
    return said([str(len(_remembered))])


def overwrite(image: Image.Image) -> Image.Image:
    """Change the original, which this process has as a file."""
    [file] = [number for number in range(3, 64) if _is_seekable(number)]
    return tried(
        write=lambda: os.write(file, b"changed"),
        truncate=lambda: os.ftruncate(file, 0),
        chmod=lambda: os.fchmod(file, 0o777),
    )


def _link() -> int:
    return max(number for number in range(64) if _is_open(number) and not _is_seekable(number))


def forge(image: Image.Image, kind: str) -> Image.Image:
    """Speak the worker's language, and lie."""
    page = b"<script>alert(1)</script>"
    words = {
        "page": struct.pack("!cIIII", b"M", 12 + len(page), 1, 1, 1) + page,
        "huge": struct.pack("!cI", b"M", 0xFFFFFFFF) + bytes(100),
        "empty": struct.pack("!cI", b"M", 0),
        "unknown": struct.pack("!cI", b"?", 4) + bytes(4),
        "beyond": struct.pack("!cIQI", b"R", 12, 1 << 40, 100),
        "nothing": struct.pack("!cIQI", b"R", 12, 0, 0),
        "refusal": struct.pack("!cI", b"X", 3) + b"{]}",
        "long_refusal": struct.pack("!cI", b"X", 1 << 30),
        "foreign_refusal": struct.pack("!cI", b"X", 40) + b'{"code": "<b>", "detail": "<script>"}   ',
    }
    words["lasting"] = words["page"]
    os.write(_link(), words[kind])
    if kind in {"page", "foreign_refusal"}:
        os._exit(0)
    time.sleep(30)
    return image


def greedy(image: Image.Image, size: int) -> Image.Image:
    """Ask for the same bytes again and again."""
    while True:
        os.write(_link(), struct.pack("!cIQI", b"R", 12, 0, size))
        os.read(_link(), 5 + size)


def larger(image: Image.Image) -> Image.Image:
    return Image.effect_noise((900, 900), 100)


def crash(image: Image.Image) -> Image.Image:
    ctypes.string_at(0)
    return image


def leave(image: Image.Image) -> Image.Image:
    os._exit(0)


def fail(image: Image.Image) -> Image.Image:
    raise KeyError("of\nthe application")


def nothing(image: Image.Image) -> None:
    return None


def spin(image: Image.Image) -> Image.Image:
    while True:
        pass


def sleep(image: Image.Image) -> Image.Image:
    while True:
        time.sleep(60)


def grow(image: Image.Image) -> Image.Image:
    found = []
    while True:
        found.append(bytes(1 << 24))


def lie_about_size(image: Image.Image, side: int, frames: int = 1) -> Image.Image:
    """Return another image than the recipe's, as a decoder could that was taken over."""
    target = io.BytesIO()
    Image.new("L", (side, side)).save(target, "WEBP")
    made = struct.pack("!III", side, side, frames) + target.getvalue()
    os.write(_link(), struct.pack("!cI", b"M", len(made)) + made)
    os._exit(0)


def refuse(image: Image.Image, code: str) -> Image.Image:
    told = b'{"code": "%s", "detail": "<script>"}' % code.encode()
    os.write(_link(), struct.pack("!cI", b"X", len(told)) + told)
    os._exit(0)


def piecemeal(image: Image.Image) -> Image.Image:
    """Ask for one byte at a time, each of which costs a request to the store."""
    for _ in range(50):
        os.write(_link(), struct.pack("!cIQI", b"R", 12, 0, 1))
        os.read(_link(), 100)
    return image


def end(image: Image.Image) -> Image.Image:
    sys.exit(3)
