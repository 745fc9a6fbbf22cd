"""Takes from a process what a decoder does not need.

That is files, network, other processes, and memory and time without end.

A worker enters namespaces of its own when it starts. The process that it forks for images sets limits and a filter of system
calls (seccomp) before it reads a byte of one, and can then do little more than compute, and talk to its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import platform
import signal
import socket
import struct
import sys
import time

if sys.platform != "win32":  # which has no workers
    import resource

from filerow.variants._wire import Limits

# By the kernel's headers: on x86-64, and where numbers are generic.
_CALLS: dict[str, tuple[int, int]] = {
    "brk": (12, 214),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "close": (3, 57),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "fstat": (5, 80),
    "futex": (202, 98),
    "getpid": (39, 172),
    "getrandom": (318, 278),
    "getrusage": (98, 165),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "lseek": (8, 62),
    "madvise": (28, 233),
    "membarrier": (324, 283),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "pread64": (17, 67),
    "read": (0, 63),
    "recvmsg": (47, 212),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_yield": (24, 124),
    "set_robust_list": (273, 99),
    "sigaltstack": (131, 132),
    "times": (100, 153),
    "write": (1, 64),
}
_CLONE, _CLONE3, _MMAP, _MPROTECT = (56, 220), (435, 435), (9, 222), (10, 226)
# What the kernel calls a machine, and which column its numbers are in.
_MACHINES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1), "riscv64": (0xC00000F3, 1)}

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _DENY, _KILL, _UNKNOWN = 0x7FFF0000, 0x00050001, 0x80000000, 0x00050026
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_CLONE_THREAD, _PROT_EXEC = 0x00010000, 0x4
_NEW_USER, _NEW_NET, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _FILTER = 1, 4, 22, 38, 2
_BYTES_OF_PAGE = 4096
IDLE = 10.0
"""Seconds after which a process that has nothing to decode ends."""

_PATIENCE = 6  # of the clock, beside a second of processor time
_M_PERTURB, _ONES, _REMAINS = -6, 0xFF, 0x77


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Confinement:
    """What a process that decodes puts on.

    It is made before the fork, so that nothing is loaded after it.
    """

    def __init__(self) -> None:
        on_linux = sys.platform == "linux"
        self._libc = ctypes.CDLL(None, use_errno=True) if on_linux else None
        code = _filter() if on_linux else b""
        self._code = ctypes.create_string_buffer(code, len(code)) if code else None
        self._program = _Program(len(code) // 8, ctypes.addressof(self._code)) if self._code else None

    def put_on(self, limits: Limits, parent: int, images: int = 1) -> None:
        """Confine this process for good.

        Args:
            limits: Memory, and the time for an image.
            parent: The process that this one ends with.
            images: How many it may make. After the first, the parent says when the time of the next one is over.
        """
        _limit(limits, images)
        if self._libc is None:
            return
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
        self._libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        self._libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if self._program is not None:
            self._libc.prctl(_PR_SET_SECCOMP, _FILTER, ctypes.byref(self._program), 0, 0)

    def proven(self) -> list[str]:
        """Return what a process can no longer reach, as one that tries finds out."""
        parent = os.getpid()
        child = os.fork()
        if not child:
            found = 0
            with contextlib.suppress(BaseException):
                self.put_on(Limits(1, 1, 256 << 20, 5.0), parent)
                found = _tried()
            os._exit(found)
        found = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        names = ["files", "network", "processes"]
        held = [name for place, name in enumerate(names) if found > 0 and found & 1 << place]
        return sorted([*held, "time", *(["memory"] if sys.platform == "linux" else [])])


def enter_namespaces() -> bool:
    """Leave the network and the users of the machine, where that is permitted."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    # among other users, root would lose its right to read the modules of an application that belongs to somebody else
    ways = [_NEW_NET | _NEW_IPC] if os.geteuid() == 0 else []
    return any(libc.unshare(flags) == 0 for flags in (*ways, _NEW_USER | _NEW_NET | _NEW_IPC))


def patience(limits: Limits) -> float:
    """Return the seconds by the clock after which nobody waits for an image any more."""
    return float(math.ceil(limits.seconds) * _PATIENCE)


def _limit(limits: Limits, images: int) -> None:
    seconds = math.ceil(limits.seconds)
    # the soft limit of time ends it with a signal of its own, the hard one with that of a system without memory
    bounds = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (seconds, seconds * images + 1),
        resource.RLIMIT_FSIZE: (0, 0),
        resource.RLIMIT_NOFILE: (16, 16),
        resource.RLIMIT_AS: (mapped() + limits.memory,) * 2,
    }
    if sys.platform != "linux":
        bounds[resource.RLIMIT_NPROC] = (0, 0)  # on Linux the filter knows threads from processes
    for limit, (most, hardest) in bounds.items():
        before = resource.getrlimit(limit)[1]
        inherited = hardest if before == resource.RLIM_INFINITY else before  # it can only be lowered
        with contextlib.suppress(ValueError, OSError):  # a system may not have this one
            resource.setrlimit(limit, (min(most, inherited), min(hardest, inherited)))
    signal.setitimer(signal.ITIMER_REAL, patience(limits) * images + IDLE * (images - 1))


def mapped(process: int | None = None) -> int:
    """Return the bytes of address space that a process has already.

    Args:
        process: Its number. Default: this one.
    """
    try:
        # pathlib is not loaded
        with open(f"/proc/{'self' if process is None else process}/statm", "rb") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * _BYTES_OF_PAGE
    except (OSError, ValueError, IndexError):
        return 1 << 30


def time_used(process: int) -> float:
    """Return the seconds of processor time that a child has used.

    Raises:
        OSError: This system does not say.
    """
    return time.clock_gettime(~process << 3 | 2)  # as clock_getcpuclockid() of Linux does


def allow_time(process: int, seconds: float) -> None:
    """Let a child use some seconds of processor time, from now on.

    Raises:
        OSError: This system does not let it, or its hard limit does not.
    """
    until = math.ceil(time_used(process) + seconds)
    try:
        hardest = resource.prlimit(process, resource.RLIMIT_CPU)[1]
        resource.prlimit(process, resource.RLIMIT_CPU, (until, hardest))
    except ValueError as error:
        raise OSError(str(error)) from None


def memory_is_wiped() -> bool:
    """Have memory overwritten when it is freed; returns True if that works.

    Decoders have shown memory that they did not write, which must not be what another image left there. glibc fills what it frees
    with ones and what it allocates with zeros, once ``_process`` has switched off the cache that it keeps for small pieces.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, "mallopt", None) is None or not libc.mallopt(_M_PERTURB, _ONES):
        return False
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    return all(_is_wiped(libc, size) for size in (24, 200, 1000, 4000, 100_000))


def _is_wiped(libc: ctypes.CDLL, size: int) -> bool:
    before = [libc.malloc(size) for _ in range(8)]
    if not all(before):
        return False
    for place in before:
        ctypes.memset(place, _REMAINS, size)
    for place in before:
        libc.free(place)
    after = [libc.malloc(size) for _ in range(8)]
    found = b"".join(ctypes.string_at(place, size) for place in after)
    for place in after:
        libc.free(place)
    return bytes([_REMAINS]) * 8 not in found


def _tried() -> int:
    """Return as bits what this process cannot do."""
    found = 0
    try:
        os.close(os.open("/", os.O_RDONLY))
    except OSError:
        found |= 1
    try:
        socket.socket().close()
    except OSError:
        found |= 2
    try:
        os.kill(os.getpid(), 0)
    except OSError:
        found |= 4
    return found


def _filter() -> bytes:
    """Return the filter of system calls, or nothing where the numbers are not known."""
    known = _MACHINES.get(platform.machine())
    if known is None or sys.byteorder != "little" or sys.maxsize <= 1 << 32:
        return b""
    machine, column = known
    code = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]
    for numbers in _CALLS.values():
        code += [(_EQUAL, 0, 1, numbers[column]), (_RETURN, 0, 0, _ALLOW)]
    code += [(_EQUAL, 0, 1, _CLONE3[column]), (_RETURN, 0, 0, _UNKNOWN)]  # its flags cannot be seen; glibc then takes clone
    code += _by_bit(_CLONE[column], 0, _CLONE_THREAD, _ALLOW, _DENY)
    for calls in (_MMAP, _MPROTECT):
        code += _by_bit(calls[column], 2, _PROT_EXEC, _DENY, _ALLOW)
    code.append((_RETURN, 0, 0, _DENY))
    return b"".join(struct.pack("=HBBI", *line) for line in code)


def _by_bit(call: int, argument: int, bit: int, then: int, otherwise: int) -> list[tuple[int, int, int, int]]:
    return [
        (_EQUAL, 0, 4, call),
        (_LOAD, 0, 0, _ARGUMENTS + 8 * argument),
        (_ANY_BIT, 0, 1, bit),
        (_RETURN, 0, 0, then),
        (_RETURN, 0, 0, otherwise),
    ]
