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
    """Return the way to the parent; that to the worker, which it had before, comes after it."""
    return min(number for number in range(3, 64) if _is_open(number) and not _is_seekable(number))


def _broker() -> int:
    return max(number for number in range(3, 64) if _is_open(number) and not _is_seekable(number))


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


# -- what a decoder would do that was taken over, and makes its own image as if nothing had happened ----------------------


def haunt(image: Image.Image, deed: str) -> Image.Image:
    """Make this image, and do something when the next one is to be made, or before."""
    _DEEDS[deed]()
    return image


def _in_worker(name: str) -> Any:
    return sys.modules[f"filerow.variants.{name}"]


def _at_next(deed: Callable[..., Any]) -> Callable[[], None]:
    return lambda: setattr(_in_worker("_pillow"), "make", deed)


def _crashes(*_: Any) -> Any:
    ctypes.string_at(0)


def _leaves(*_: Any) -> Any:
    os._exit(0)


def _refuses(*_: Any) -> Any:
    raise _in_worker("_wire").UnmakableError("memory")


def _lies(*_: Any) -> Any:
    lie_about_size(Image.new("L", (1, 1)), 3000)


def _hangs(*_: Any) -> Any:
    time.sleep(60)


def _fills(*_: Any) -> Any:
    while True:
        os.write(_link(), bytes(1 << 16))


def _says_done(*_: Any) -> Any:
    os.write(_broker(), b"." * 20)
    time.sleep(60)


def _closes_all(*_: Any) -> Any:
    os.close(_link())
    os.close(_broker())
    time.sleep(60)


def _answers_twice(*_: Any) -> Any:
    made = struct.pack("!III", 8, 8, 1) + saved_in("black")
    os.write(_link(), (struct.pack("!cI", b"M", len(made)) + made) * 2)
    time.sleep(60)


def _forges(*_: Any) -> Any:
    return _in_worker("_pillow").Picture(saved_in("black"), 8, 8, 1)


def saved_in(colour: str) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(target, "WEBP")
    return target.getvalue()


def _speaks_unasked() -> None:
    _soon(os.write, _broker(), b".")


def _never_reads() -> None:
    _in_worker("_worker")._next_job = lambda control: time.sleep(60)


def _stays() -> None:
    worker = _in_worker("_worker")
    received = worker._next_job

    def endless(control: Any) -> Any:
        found = received(control)
        found.job["more"] = 99
        return found

    worker._next_job = endless


def _dies_soon() -> None:
    _soon(os._exit, 0)


def _soon(deed: Callable[..., Any], *arguments: Any) -> None:
    timer = threading.Timer(0.1, deed, arguments)
    timer.daemon = True
    timer.start()


def _keeps_descriptors() -> None:
    _in_worker("_worker")._Received.close = lambda received: None


def _keeps_memory() -> None:
    _kept.append(bytearray(os.urandom(1)) * (200 << 20))


def _blocks_signals() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, range(1, signal.NSIG))


_kept: list[bytearray] = []
_DEEDS: dict[str, Callable[[], None]] = {
    "crashes": _at_next(_crashes), "leaves": _at_next(_leaves), "refuses": _at_next(_refuses), "lies": _at_next(_lies),
    "hangs": _at_next(_hangs), "fills": _at_next(_fills), "says_done": _at_next(_says_done),
    "closes_all": _at_next(_closes_all), "speaks_unasked": _speaks_unasked, "never_reads": _never_reads,
    "dies_soon": _dies_soon, "keeps_descriptors": _keeps_descriptors, "keeps_memory": _keeps_memory,
    "blocks_signals": _blocks_signals, "answers_twice": _at_next(_answers_twice),
    "forges": _at_next(_forges), "stays": _stays,
}  # fmt: skip


def pause(image: Image.Image, seconds: float) -> Image.Image:
    time.sleep(seconds)
    return image


def burn(image: Image.Image, seconds: float) -> Image.Image:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return image


SECRET = b"another user's face "
_SIZES = [24, 100, 500, 1000, 1032, 2000, 10_000, 100_000, 1_000_000, 20_000_000, 40_000_000]


def leave_secret(image: Image.Image) -> Image.Image:
    """Leave pixels in memory that is free, of all sizes."""
    for size in _SIZES:
        places = _allocated(size)
        for place in places:
            ctypes.memmove(place, SECRET * (size // len(SECRET)), size // len(SECRET) * len(SECRET))
        for place in places:
            _libc.free(ctypes.c_void_p(place))
    return image


def look_for_secret(image: Image.Image) -> Image.Image:
    """Look at memory that nobody has written to, as a decoder with an error does."""
    found = {size for size in _SIZES for place in _allocated(size) if SECRET in ctypes.string_at(place, size)}
    return said(["found", *map(str, sorted(found))])


def _allocated(size: int) -> list[int]:
    _libc.malloc.restype = ctypes.c_void_p
    return [_libc.malloc(ctypes.c_size_t(size)) for _ in range(8 if size < 1_000_000 else 1)]


def opaque(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def libvips(image: Image.Image, folder: str) -> Image.Image:
    """Ask libvips, which draws SVG, for anything else."""
    pyvips: Any = sys.modules["pyvips"]
    make = pyvips.Image
    attempts: list[Callable[[], Any]] = [
        lambda: make.new_from_file(f"{folder}/a.png"),
        lambda: make.svgload(f"{folder}/a.svg"),
        lambda: make.pngload(f"{folder}/a.png"),
        lambda: make.pngload_buffer(b"\x89PNG\r\n\x1a\n" + bytes(50)),
        lambda: make.black(9, 9),
        lambda: make.text("Hello"),
        lambda: make.rawload(f"{folder}/a.png", 1, 1, 1),
        lambda: make.new_from_memory(bytes(9), 3, 3, 1, "uchar").copy(),
    ]
    lines = []
    for attempt in attempts:
        try:
            lines.append(f"reached {attempt()!r}")
        except pyvips.Error as error:
            lines.append("blocked" if "blocked" in str(error) else " ".join(str(error).split()))
    return said(lines)
