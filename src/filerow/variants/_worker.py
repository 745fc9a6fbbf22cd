"""A worker: forks a confined process for each image, and reads none.

So what decodes one file never sees another. ``_workers`` starts it as ``python -I -c``, with this module's ``main``.
"""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, NamedTuple, cast

from filerow.variants import _images
from filerow.variants._confine import Confinement, enter_namespaces
from filerow.variants._wire import (
    BLOCK,
    DATA,
    HEAD,
    LENGTH,
    MADE,
    MOST_DETAIL,
    READ,
    REFUSED,
    REPORT,
    SIZES,
    SPAN,
    DecodeJob,
    Hello,
    Limits,
    UnmakableError,
)

_MOST_JOB = 1 << 16
_KEPT_BLOCKS = 4


class PartReader(io.RawIOBase):
    """A file of bytes that are somewhere else.

    Args:
        part: Returns the bytes from one place to another, or fewer of them; none at the end.
        size: How many there are.
    """

    def __init__(self, part: Callable[[int, int], bytes], size: int) -> None:
        super().__init__()
        self._part = part
        self._size = size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position; returns it."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("before the start of the file")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Return the next bytes, all of them by default."""
        end = self._size if size is None or size < 0 else min(self._size, self._position + size)
        parts: list[bytes] = []
        while self._position < end:
            part = self._part(self._position, end)
            if not part:
                break
            parts.append(part)
            self._position += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer with the next bytes; returns how many."""
        view = memoryview(buffer).cast("B")
        found = self.read(len(view))
        view[: len(found)] = found
        return len(found)


class Blocks:
    """Bytes that the parent has, asked for in blocks.

    Args:
        ask: Returns the bytes from one place to another.
        size: How many there are.
    """

    def __init__(self, ask: Callable[[int, int], bytes], size: int) -> None:
        self._ask = ask
        self._size = size
        self._blocks: dict[int, bytes] = {}

    def part(self, start: int, end: int) -> bytes:
        """Return bytes from one place towards another."""
        number, offset = divmod(start, BLOCK)
        found = self._blocks.pop(number, None)
        if found is None:
            found = self._ask(number * BLOCK, min(self._size, (number + 1) * BLOCK))
        self._blocks[number] = found  # the last one used is the last one to go
        if len(self._blocks) > _KEPT_BLOCKS:
            del self._blocks[next(iter(self._blocks))]
        return found[offset : offset + end - start]


def find_function(name: str) -> Callable[..., Any] | None:
    """Return the function that a recipe names; ``None`` for none.

    Raises:
        UnmakableError: It cannot be imported.
    """
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        return cast("Callable[..., Any]", getattr(import_module(module), attribute))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the application's code runs
        raise UnmakableError("function", f"cannot be imported: {type(error).__name__}: {error}") from None


def main(descriptor: int) -> None:
    """Serve the process at the other end of a socket until it goes.

    Args:
        descriptor: The socket.
    """
    for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGXCPU):  # a parent may ignore or block them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    control = socket.socket(fileno=descriptor)
    namespaces = enter_namespaces()
    _images.prepare()
    confinement = Confinement()
    protections = {*confinement.proven()} | ({"network"} if namespaces else set())
    _tell(control, Hello(protections=sorted(protections), versions=_images.versions()))
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 2)
    os.close(silence)
    # our own names were only there to load this without SQLAlchemy; an application's module may want all of Filerow
    for stub in ("filerow.variants", "filerow"):
        if getattr(sys.modules.get(stub), "__file__", None) is None:
            sys.modules.pop(stub, None)
    gc.collect()
    gc.freeze()
    with control, contextlib.suppress(TimeoutError, OSError):
        _serve(control, confinement)


def _serve(control: socket.socket, confinement: Confinement) -> None:
    while (received := _next_job(control)) is not None:
        try:
            status = _in_a_child(control, confinement, received)
        finally:
            received.link.close()
            if received.file is not None:
                os.close(received.file)
        control.sendall(REPORT.pack(status))


class _Received(NamedTuple):
    """A job, with a socket to the parent, and the original if it is a file."""

    job: DecodeJob
    link: socket.socket
    file: int | None


def _next_job(control: socket.socket) -> _Received | None:
    """Return the next job; ``None`` at the end."""
    data, descriptors, _, _ = socket.recv_fds(control, _MOST_JOB, 2)
    if not data or not descriptors:
        return None
    link = socket.socket(fileno=descriptors[0])
    link.setblocking(True)  # noqa: FBT003 - its only argument
    while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
        more = control.recv(_MOST_JOB)
        if not more:
            link.close()
            return None
        data += more
    return _Received(cast("DecodeJob", json.loads(data[LENGTH.size :])), link, descriptors[1] if len(descriptors) > 1 else None)


def _in_a_child(control: socket.socket, confinement: Confinement, received: _Received) -> int:
    """Make an image in a process of its own; returns how that ended."""
    job, link, file = received
    pixels, frames, memory, seconds = job["limits"]
    limits = Limits(int(pixels), int(frames), int(memory), seconds)
    try:
        function = find_function(job["plan"]["function"])
    except UnmakableError as error:
        _refuse(link.fileno(), error)
        return 0
    parent = os.getpid()
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            control.close()
            confinement.put_on(limits, parent)
            _make(link.fileno(), file, job, limits, function)
            status = 0
        os._exit(status)
    link.close()
    return os.waitpid(child, 0)[1]


def _make(link: int, file: int | None, job: DecodeJob, limits: Limits, function: Callable[..., Any] | None) -> None:
    def ask(start: int, end: int) -> bytes:
        _write(link, HEAD.pack(READ, SPAN.size) + SPAN.pack(start, end - start))
        kind, length = HEAD.unpack(_read(link, HEAD.size))
        if kind != DATA:
            os._exit(1)
        return _read(link, length)

    def part_of_file(start: int, end: int) -> bytes:
        return os.pread(cast("int", file), end - start, start)

    part = Blocks(ask, job["size"]).part if file is None else part_of_file
    try:
        made = _images.make(cast("IO[bytes]", PartReader(part, job["size"])), job["plan"], limits, function)
    except UnmakableError as error:
        _refuse(link, error)
        return
    _write(link, HEAD.pack(MADE, SIZES.size + len(made.content)) + SIZES.pack(made.width, made.height, made.frames))
    _write(link, made.content)


def _refuse(link: int, error: UnmakableError) -> None:
    said = json.dumps({"code": error.code, "detail": error.detail[:MOST_DETAIL]}).encode()
    _write(link, HEAD.pack(REFUSED, len(said)) + said)


def _tell(control: socket.socket, message: Hello) -> None:
    said = json.dumps(message).encode()
    control.sendall(LENGTH.pack(len(said)) + said)


def _read(link: int, size: int) -> bytes:
    """Return exactly that many bytes, or end if they do not come."""
    parts: list[bytes] = []
    while size:
        part = os.read(link, min(size, 1 << 20))
        if not part:
            os._exit(1)
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def _write(link: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(link, view) :]
