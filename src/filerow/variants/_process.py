"""A worker's process as its parent sees it: its start, jobs and end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from filerow._execution.steps import Steps, threaded
from filerow._variant_plan import KILLED, VariantPlan
from filerow.exceptions import UndecodableError, VariantError, VariantTimeoutError, VariantTooLargeError, WorkerError
from filerow.variants._link import Deadline, WorkerLink
from filerow.variants._source import Original
from filerow.variants._wire import (
    BLOCK,
    DATA,
    HEAD,
    LENGTH,
    MADE,
    READ,
    REFUSED,
    REPORT,
    SIZES,
    SPAN,
    DecodeJob,
    Limits,
    UnmakableError,
    framed,
)

# The package itself would import SQLAlchemy; a worker needs only what stands beside this file. It looks for modules where this
# process does, so it finds the same Pillow, and the application's own functions.
_BOOT = """
import json, sys, types
places, home = json.loads(sys.argv[1])
sys.path[:] = places
for name, folder in (("filerow", home), ("filerow.variants", home + "/variants")):
    sys.modules[name] = package = types.ModuleType(name)
    package.__path__ = [folder]
from filerow.variants._worker import main
main(int(sys.argv[2]), svg="svg" in sys.argv[3:])
"""
_TUNABLES = {"hugetlb": 1, "mmap_threshold": 32 << 20, "trim_threshold": 128 << 20, "tcache_count": 0}
_ENVIRONMENT = {"GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in _TUNABLES.items())}
"""One heap of huge pages that is kept: after a fork each small page costs the kernel more than to fill it. And no cache of small
pieces, which glibc would not overwrite when they are freed."""

_HOME = Path(__file__).parent.parent
_START = 60.0
_SETTLE = 5.0
_MOST_HELLO = 1 << 16
_MOST_REFUSAL = 1 << 13
_MOST_SAID = 4096
_CLOCK = 3  # seconds that may pass for each second of processor time: other processes want it, too
_REREAD = 2  # times that an original may be read
_PART_OF_TIME = 4  # where others were made, an image has a quarter of its time, since it is tried again if that is too short


class WorkerVanishedError(Exception):
    """A worker had ended before it began with a job, which another one may do."""


class Asked(NamedTuple):
    """An image that is wanted.

    Attributes:
        plan: What to make.
        limits: What that may take.
        original: The bytes to make it of.
        output: Maximum size of the result in bytes.
        images: How many a process may make, this one included, one after the other.
    """

    plan: VariantPlan
    limits: Limits
    original: Original
    output: int
    images: int


class Raw(NamedTuple):
    """What a worker says that it has made; nothing of it is proven."""

    content: bytes
    width: int
    height: int
    frames: int


class WorkerProcess:
    """A running worker.

    Attributes:
        is_ready: It has started, and may be given images.
        protections: What its images are kept from.
        versions: Those of the libraries that it decodes with.
    """

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._killed = False
        self._shares = False
        self._made = 0  # by the process that would make the next image, as far as this one knows
        self._limits: Limits | None = None
        self.is_ready = False
        self.protections: frozenset[str] = frozenset()
        self.versions: dict[str, str] = {}

    def greet(self) -> Steps[None]:
        """Wait until it is ready.

        Raises:
            WorkerError: It ended, or took too long.
        """
        link = WorkerLink(self._control, Deadline(_START))
        try:
            (length,) = LENGTH.unpack((yield link.receive(LENGTH.size)))
            hello = json.loads((yield link.receive(min(length, _MOST_HELLO))))
        except (EOFError, OSError, ValueError) as error:
            if self._killed:
                raise _closed() from error
            said = yield threaded(self._last_words)
            raise WorkerError(f"a worker for variants could not start: {said or type(error).__name__}") from error
        self.protections, self.versions = frozenset(hello["protections"]), hello["versions"]
        self._shares = hello["shares"] is True
        self._close_words()
        self.is_ready = True

    def would_share(self, asked: Asked) -> bool:
        """Return True if a process would make an image that has made others."""
        return 0 < self._made < asked.images and self._limits == asked.limits

    def make(self, asked: Asked) -> Steps[Raw | Exception]:
        """Have an image made.

        Returns:
            The image, or why there is none: an ``UnmakableError``, or the error of whoever has the original. The worker is as
            good as before.

        Raises:
            VariantError: The worker took too much, or does not do what it should: it is to be killed.
            WorkerVanishedError: It had ended before.
        """
        try:
            file: BinaryIO | None = (yield asked.original.open) if asked.original.open is not None else None
        except Exception as error:  # noqa: BLE001 - the caller raises it
            return error
        made = self._made if self.would_share(asked) else 0
        more = asked.images - made - 1 if self._shares else 0
        seconds = asked.limits.seconds / (_PART_OF_TIME if made else 1)
        job = _job(asked, seconds, fresh=not made, more=more)
        self._made, self._limits = 0, asked.limits  # unless all goes well, its process makes no other image
        here, there = socket.socketpair()
        with here:
            with there, file or contextlib.nullcontext():
                self._hand_over(job, [there.fileno()] if file is None else [there.fileno(), file.fileno()])
            link = WorkerLink(here, Deadline(seconds * _CLOCK))
            try:
                outcome = yield from _talk(link, asked)
            except (EOFError, OSError) as error:
                raise (yield from self._why(error, link.deadline)) from error
        yield from self._settle()
        if isinstance(outcome, Raw) and more:
            self._made = made + 1
        return outcome

    def kill(self) -> None:
        """End it, and what it has forked, at once.

        Another thread may be waiting for it, so nothing is closed that this one would then mistake for something else.
        """
        self._killed = True
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        if self._process.returncode is None:  # or the number could be another process by now
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close what leads to a killed one, for which nobody waits any more."""
        self._control.close()
        self._close_words()

    def is_reaped(self, *, wait: bool = False) -> bool:
        """Return True if a killed one is gone for good; it is gone within moments."""
        if wait:
            self._process.wait()
        return self._process.poll() is not None

    def forget(self) -> None:
        """Forget it in a forked child: it belongs to the parent."""
        self._control.close()
        self._close_words()
        self._process.returncode = 0  # or Python would warn that it still runs

    def _hand_over(self, job: DecodeJob, descriptors: list[int]) -> None:
        data = framed(job)
        self._control.settimeout(_SETTLE)
        try:
            sent = socket.send_fds(self._control, [data], descriptors)
        except OSError as error:
            raise WorkerVanishedError from error
        if sent < len(data):
            raise WorkerVanishedError

    def _why(self, error: Exception, deadline: Deadline) -> Steps[Exception]:
        """Return the error for how the process of an image has ended."""
        if self._killed:
            return _closed()
        if isinstance(error, TimeoutError):
            return _too_slow()
        link = WorkerLink(self._control, Deadline(min(_SETTLE, deadline.left + 1)))
        try:
            (status,) = REPORT.unpack((yield link.receive(REPORT.size)))
        except (EOFError, ConnectionError):
            return WorkerVanishedError()
        except OSError:
            return _crashed("stopped answering")
        code = os.waitstatus_to_exitcode(status)
        if code in {-signal.SIGXCPU, -signal.SIGALRM}:
            return _too_slow()
        if code == -signal.SIGKILL:  # the hard limit of time, or the system has no memory left
            return VariantTooLargeError("the process that decoded the image was killed; it took too much", code=KILLED)
        return _crashed(f"ended with signal {-code}" if code < 0 else "ended early")

    def _settle(self) -> Steps[None]:
        """Wait until the process of an image is gone.

        Raises:
            VariantError: It does not go.
        """
        try:
            yield WorkerLink(self._control, Deadline(_SETTLE)).receive(REPORT.size)
        except (EOFError, OSError) as error:
            raise (_closed() if self._killed else _crashed("did not end")) from error

    def _last_words(self) -> str:
        """Return the last line of what it wrote before it could not start."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SETTLE)
        words = self._process.stderr
        said = words.read(_MOST_SAID).decode(errors="replace").strip() if words else ""
        return said.splitlines()[-1] if said else ""

    def _close_words(self) -> None:
        if self._process.stderr is not None:
            self._process.stderr.close()


def start(executable: str, *, svg: bool = False) -> WorkerProcess:
    """Start a worker, with nothing of this process but where its modules are.

    Args:
        executable: The Python interpreter.
        svg: Let it draw SVG.

    Raises:
        WorkerError: There is no Python to run it with.
    """
    if not executable or getattr(sys, "frozen", False):
        msg = "a worker for variants needs a Python interpreter, and this program does not say where: configure(executable=...)"
        raise WorkerError(msg)
    here, there = socket.socketpair()
    places = [os.path.abspath(place) for place in sys.path if place]  # noqa: PTH100 - a ZIP is one, too
    try:
        with there:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter, our own words
                [executable, "-I", "-c", _BOOT, json.dumps([places, str(_HOME)]), str(there.fileno()), *(["svg"] if svg else [])],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                cwd="/",
                env=_ENVIRONMENT,
                pass_fds=[there.fileno()],
                start_new_session=True,
            )
    except OSError as error:
        here.close()
        raise WorkerError(f"a worker for variants could not start: {error}") from error
    return WorkerProcess(process, here)


def _job(asked: Asked, seconds: float, *, fresh: bool, more: int) -> DecodeJob:
    limits = asked.limits
    numbers = [limits.pixels, limits.frames, limits.memory, seconds]
    return DecodeJob(plan=asked.plan, size=asked.original.size, limits=numbers, fresh=fresh, more=more)


def _talk(link: WorkerLink, asked: Asked) -> Steps[Raw | Exception]:
    """Answer what a worker asks until it has an image, or a reason why not."""
    original, left = asked.original, asked.original.size * _REREAD
    while True:
        kind, length = HEAD.unpack((yield link.receive(HEAD.size)))
        if kind == READ and length == SPAN.size:
            begin, size = SPAN.unpack((yield link.receive(length)))
            left -= size
            if begin % BLOCK or not 0 < size == min(BLOCK, original.size - begin) or left < 0:  # each costs a request
                raise _crashed("asked for more than the file has")
            before = time.monotonic()
            try:
                data = yield original.read(begin, begin + size)
            except Exception as error:  # noqa: BLE001 - the caller raises it
                return error
            link.deadline.extend(time.monotonic() - before)
            if len(data) != size:
                return UnmakableError("broken")
            yield link.send(HEAD.pack(DATA, len(data)) + data)
        elif kind == MADE and SIZES.size < length <= asked.output + SIZES.size:
            data = yield link.receive(length)
            return Raw(data[SIZES.size :], *SIZES.unpack_from(data))
        elif kind == MADE and length > SIZES.size:
            raise output_too_large(asked.output)
        elif kind == REFUSED and length <= _MOST_REFUSAL:
            return _refused((yield link.receive(length)))
        else:
            raise _crashed("sent what is not an answer")


def _refused(said: bytes) -> UnmakableError | VariantError:
    try:
        found: Any = json.loads(said)
        return UnmakableError(str(found["code"]), str(found["detail"]))
    except (ValueError, TypeError, KeyError):
        return _crashed("sent what is not an answer")


def output_too_large(most: int) -> VariantTooLargeError:
    """Return the error for a variant with too many bytes."""
    return VariantTooLargeError(f"the variant would have more than {most:,} bytes", code="output")


def _closed() -> WorkerError:
    return WorkerError("the workers for variants were closed")


def _too_slow() -> VariantTimeoutError:
    return VariantTimeoutError("the variant took too long to make; configure(seconds=...) allows more")


def _crashed(what: str) -> UndecodableError:
    return UndecodableError(f"the process that decoded the image {what}; the file is broken or hostile", code="crashed")
