"""A worker: forks the confined processes that make images, and reads none.

It hands a process one job after the other, and ends it when its parent says so, or when it does anything but make an image.
``_process`` starts it as ``python -I -c``, with this module's ``main``.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import io
import json
import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import IO, Any, NamedTuple, cast

from filerow.variants import _pillow
from filerow.variants._confine import (
    IDLE,
    Confinement,
    allow_time,
    enter_namespaces,
    mapped,
    memory_is_wiped,
    patience,
    time_used,
)
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
    framed,
)

_MOST_JOB = 1 << 16
_KEPT_BLOCKS = 4
_DONE = b"."
"""Says a process that has made an image, and waits for another job."""

_HANDOVER = 5.0
_GRACE = 2.0  # seconds of processor time beyond those of an image, whose signal a process may block
_KEPT_SHARE = 4  # a process that keeps more than a quarter of its memory makes no other image
_MOST_WORDS = 1 << 16
_NO_MEMORY = re.compile(rb"memory allocation of \d+ bytes failed|failed to allocate \d+ bytes")
"""What Rust and GLib say before they end their process: neither can refuse what it has no memory for."""


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


def main(descriptor: int, *, svg: bool = False) -> None:
    """Serve the process at the other end of a socket until it goes.

    Args:
        descriptor: The socket.
        svg: Draw SVG, too.
    """
    for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGXCPU):  # a parent may ignore or block them
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    control = socket.socket(fileno=descriptor)
    namespaces = enter_namespaces()
    is_wiped = memory_is_wiped()
    _pillow.prepare()
    versions, drawer = _pillow.versions(), None
    if svg:
        from filerow.variants import _svg  # of an extra

        _svg.prepare()
        versions, drawer = versions | _svg.versions(), _svg.Drawing
    confinement = Confinement()
    proven = {*confinement.proven()}
    protections = proven | ({"network"} if namespaces else set())
    shares = is_wiped and proven == {"files", "memory", "network", "processes", "time"}
    control.sendall(framed(Hello(protections=sorted(protections), versions=versions, shares=shares)))
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 2)
    os.close(silence)
    # our own names were only there to load this without SQLAlchemy; an application's module may want all of Filerow
    for stub in ("filerow.variants", "filerow"):
        if getattr(sys.modules.get(stub), "__file__", None) is None:
            sys.modules.pop(stub, None)
    gc.collect()
    gc.freeze()
    _release_memory()
    with control, contextlib.suppress(TimeoutError, OSError):
        _Broker(control, confinement, drawer).serve()


def _release_memory() -> None:
    """Give back what is free, or each fork would copy its pages when it takes them."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if trim is not None:
        trim(0)


class _Received(NamedTuple):
    """A job, with a socket to the parent, and the original if it is a file."""

    job: DecodeJob
    link: int
    file: int | None

    @property
    def limits(self) -> Limits:
        pixels, frames, memory, seconds = self.job["limits"]
        return Limits(int(pixels), int(frames), int(memory), seconds)

    @property
    def descriptors(self) -> list[int]:
        return [self.link] if self.file is None else [self.link, self.file]

    def close(self) -> None:
        for number in self.descriptors:
            os.close(number)


def _next_job(control: socket.socket) -> _Received | None:
    """Return the next job; ``None`` at the end."""
    data, descriptors, _, _ = socket.recv_fds(control, _MOST_JOB, 2)
    if not data or not descriptors:
        return None
    while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
        more = socket.recv_fds(control, _MOST_JOB, 0)[0]
        if not more:
            return None
        data += more
    file = descriptors[1] if len(descriptors) > 1 else None
    return _Received(cast("DecodeJob", json.loads(data[LENGTH.size :])), descriptors[0], file)


def _readable(seconds: float, *ends: socket.socket) -> list[socket.socket]:
    """Return those of some sockets that can be read, or have ended, when one can."""
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    found = {number for number, _ in poll.poll(seconds * 1000)}
    return [end for end in ends if end.fileno() in found]


class _Child:
    """A process that makes images; nothing that it says is believed.

    Args:
        process: Its number.
        end: A socket to it.
        limits: Those that it was given.
        mapped_before: Bytes of address space that it began with.
    """

    def __init__(self, process: int, end: socket.socket, limits: Limits, mapped_before: int) -> None:
        self._process = process
        self._end = end
        self._limits = limits
        self._before = mapped_before
        end.settimeout(_HANDOVER)

    def takes(self, received: _Received) -> bool:
        """Hand it another job; returns False if it can do none."""
        data = framed(received.job)
        try:
            if _readable(0, self._end):  # it has ended, or says what nobody has asked
                return False
            allow_time(self._process, received.limits.seconds)
            return socket.send_fds(self._end, [data], received.descriptors) == len(data)
        except OSError:
            return False

    def wait(self, control: socket.socket, limits: Limits) -> int | None:
        """Wait until it has made an image.

        Args:
            control: A socket to the parent.
            limits: What the image may take.

        Returns:
            How it has ended, as ``waitpid`` says it; ``None`` if it has not, and can make another.

        Raises:
            OSError: The parent has gone.
        """
        until = time.monotonic() + patience(limits)
        most = self._used() + limits.seconds + _GRACE
        while time.monotonic() < until and self._used() < most:
            ready = _readable(1, self._end, control)
            if control in ready:
                raise ConnectionAbortedError
            if ready:
                return None if self._says_done() else self.end()
        self.end()
        return signal.SIGXCPU

    def rests_until_a_job(self, control: socket.socket) -> bool:
        """Wait for another job; returns False if it is not to do that one."""
        if mapped(self._process) - self._before > self._limits.memory // _KEPT_SHARE:
            return False
        return _readable(IDLE, self._end, control) == [control]

    def end(self) -> int:
        """End it, if it does not end by itself; returns how it did."""
        self._end.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process, signal.SIGKILL)
        return os.waitpid(self._process, 0)[1]

    def _says_done(self) -> bool:
        try:
            return self._end.recv(1) == _DONE
        except OSError:
            return False

    def _used(self) -> float:
        try:
            return time_used(self._process)
        except OSError:  # where it makes one image, within a limit of its own
            return 0.0


class _Broker:
    """Hands the jobs of a parent to the processes that do them.

    Args:
        control: A socket to the parent.
        confinement: What those processes put on.
        drawer: Draws SVG, where that is allowed.
    """

    def __init__(self, control: socket.socket, confinement: Confinement, drawer: _pillow.Drawer | None) -> None:
        self._control = control
        self._confinement = confinement
        self._drawer = drawer
        self._words: int | None = None
        self._said: int | None = None
        if drawer is not None:
            self._words, self._said = os.pipe()
        for end in (self._words, self._said):
            if end is not None:
                os.set_blocking(end, False)  # whoever says too much is not heard
        self._child: _Child | None = None

    def serve(self) -> None:
        """Do all jobs until the parent goes."""
        try:
            while (received := self._next()) is not None:
                self._control.sendall(REPORT.pack(self._done(received)))
        finally:
            self._end_child()

    def _next(self) -> _Received | None:
        if self._child is not None and not self._child.rests_until_a_job(self._control):
            self._end_child()
        return _next_job(self._control)

    def _done(self, received: _Received) -> int:
        """Do a job; returns how the process that did it has ended, or 0 if it goes on."""
        os.set_blocking(received.link, True)
        try:
            find_function(received.job["plan"]["function"])  # here, since no module can be read later
            child = self._child = self._given(received)
            link = os.dup(received.link) if self._drawer is not None else None  # the process has none of it
        except UnmakableError as error:
            _refuse(received.link, error)
            return 0
        finally:
            received.close()  # when the process ends, the parent sees it
        status = child.wait(self._control, received.limits)
        if link is not None:
            if self._lacked_memory() and status:
                _refuse(link, UnmakableError("memory"))
            os.close(link)
        if status is not None:
            self._child = None
        elif not received.job["more"]:
            self._end_child()
        return status or 0

    def _lacked_memory(self) -> bool:
        """Return True if the last process ended for want of memory."""
        try:
            return self._words is not None and _NO_MEMORY.search(os.read(self._words, _MOST_WORDS)) is not None
        except BlockingIOError:  # it has said nothing
            return False

    def _given(self, received: _Received) -> _Child:
        """Return the process that a job was given to."""
        child = self._child
        if child is not None and not received.job["fresh"] and child.takes(received):
            return child
        self._end_child()
        here, there = socket.socketpair()
        there.settimeout(None)  # a module of the application may have set another default
        parent, before = os.getpid(), mapped()
        process = os.fork()
        if not process:
            status = 1
            with contextlib.suppress(BaseException):
                self._control.close()
                here.close()
                if self._words is not None and self._said is not None:
                    os.dup2(self._said, 2)
                    os.close(self._words)
                    os.close(self._said)
                self._confinement.put_on(received.limits, parent, received.job["more"] + 1)
                _make_images(there, received, self._drawer)
                status = 0
            os._exit(status)
        there.close()
        return _Child(process, here, received.limits, before)

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


def _make_images(broker: socket.socket, received: _Received, drawer: _pillow.Drawer | None) -> None:
    """Do one job after the other, until one cannot be done or was the last."""
    while _make(received, drawer) and received.job["more"]:
        received.close()
        os.write(broker.fileno(), _DONE)
        following = _next_job(broker)
        if following is None:
            return
        received = following


def _make(received: _Received, drawer: _pillow.Drawer | None) -> bool:
    """Make an image; returns False if it cannot be made."""
    job, link, file = received

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
        function = find_function(job["plan"]["function"])
        read = cast("IO[bytes]", PartReader(part, job["size"]))
        made = _pillow.make(read, job["plan"], received.limits, function, drawer)
    except UnmakableError as error:
        _refuse(link, error)
        return False
    except MemoryError:  # of the reader of the file, say
        _refuse(link, UnmakableError("memory"))
        return False
    _write(link, HEAD.pack(MADE, SIZES.size + len(made.content)) + SIZES.pack(made.width, made.height, made.frames))
    _write(link, made.content)
    return True


def _refuse(link: int, error: UnmakableError) -> None:
    said = json.dumps({"code": error.code, "detail": error.detail[:MOST_DETAIL]}).encode()
    _write(link, HEAD.pack(REFUSED, len(said)) + said)


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
