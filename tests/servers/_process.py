"""Start a server as a child process, wait until it answers, and be sure that it ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parents[2]
"""The checkout; servers that npm installs are looked for under its ``.servers``."""

ATTEMPTS = 4
"""How often a server is started before we give up: a port can be taken between our look and its bind."""

_PORTS = range(15_000, 22_000)
"""Below the range from which systems draw the ports of outgoing connections, also after adding 10,000."""

_SUPERVISOR = """
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
(read -r _ <&3; kill -{signal} "$server") 2>/dev/null &
guard=$!
exec 3<&-
wait "$server"
code=$?
kill "$guard" 2>/dev/null
exit "$code"
"""
"""Ends the server when our end of its standard input closes, which the kernel does for us even if we are killed."""


class ServerMissingError(RuntimeError):
    """A server is not installed.

    Args:
        name: What is missing.
        install: The command that installs it.
    """

    def __init__(self, name: str, install: str) -> None:
        super().__init__(f"{name} is not installed; to install it: {install}")
        self.name = name
        self.install = install


class ServerFailedError(RuntimeError):
    """A server is installed but did not come up, or broke; the message ends with the end of its log."""


def free_ports(count: int = 1, *, also: Sequence[int] = ()) -> int:
    """Return the first of ``count`` consecutive ports that nothing listens on now.

    Args:
        count: How many consecutive ports are wanted.
        also: Distances to further ports that the server takes for each of them, such as 10000 for SeaweedFS's gRPC.
    """
    for _ in range(200):
        first = random.choice(_PORTS)
        wanted = [first + number + shift for number in range(count) for shift in (0, *also)]
        if all(map(_is_free, wanted)):
            return first
    msg = f"found no {count} free consecutive ports between {_PORTS.start} and {_PORTS.stop}"
    raise ServerFailedError(msg)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def accepts_connections(port: int) -> bool:
    """Return True if something on this machine accepts TCP connections on ``port``."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class ServerProcess:
    """One child process with a folder of its own.

    Args:
        name: For messages and for the name of the folder.
        stop_signal: What ends the server; the default is fine for servers that leave nothing outside their folder.
    """

    def __init__(self, name: str, *, stop_signal: signal.Signals = signal.SIGKILL) -> None:
        self.name = name
        self.folder = Path(tempfile.mkdtemp(prefix=f"filerow-{name}-"))
        self.leftovers: list[Path] = []
        """Files outside its folder that the server forgets; they are removed when it ends."""
        self._stop_signal = stop_signal
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._spawn: Callable[[], None] | None = None
        atexit.register(self.stop)

    @property
    def log(self) -> str:
        """The last lines that the server wrote."""
        path = self.folder / "log"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def run(self, argv: Sequence[str | Path], *, user: str | None = None, timeout: float = 60) -> None:
        """Run a preparing command, such as ``initdb``, to its end.

        Raises:
            ServerFailedError: It failed; the message holds what it wrote.
        """
        done = subprocess.run(
            argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=timeout, check=False, user=user, extra_groups=None if user is None else [],
        )  # fmt: skip
        if done.returncode:
            self.stop()
            msg = f"{self.name}: {Path(argv[0]).name} ended with {done.returncode}:\n{done.stdout.decode()[-3000:]}"
            raise ServerFailedError(msg)

    def spawn(self, argv: Sequence[str | Path], *, user: str | None = None, environment: dict[str, str] | None = None) -> None:
        """Start the server; what it writes goes to ``log`` in its folder."""
        self._spawn = partial(self.spawn, argv, user=user, environment=environment)
        script = _SUPERVISOR.format(signal=self._stop_signal.name.removeprefix("SIG"))
        with (self.folder / "log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                ["/bin/sh", "-c", script, "sh", *argv], cwd=self.folder, stdin=subprocess.PIPE, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **(environment or {})},
                user=user, extra_groups=None if user is None else [],
            )  # fmt: skip

    def spawn_again(self) -> None:
        """Start a server that has ended once more, as it was."""
        assert self._spawn is not None
        self._spawn()

    def signal(self, number: signal.Signals) -> None:
        """Send the server a signal, one that pauses it to all processes that it has started too; Linux only."""
        assert self._supervisor is not None
        server = _children(self._supervisor.pid)[:1]  # the supervisor's own guard comes after it
        for pid in server if number not in {signal.SIGSTOP, signal.SIGCONT} else _with_descendants(server):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait_for_end(self, timeout: float = 30) -> None:
        """Wait until the server has ended by itself."""
        assert self._supervisor is not None
        self._supervisor.wait(timeout)

    @property
    def running(self) -> bool:
        """Whether the server has not ended; a probe alone could be answered by another server on the same port."""
        return self._supervisor is not None and self._supervisor.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, timeout: float = 30) -> bool:
        """Poll until ``ready()`` is true.

        Returns:
            True when it is ready, False when it ended by itself before (a taken port: start again with another one).

        Raises:
            ServerFailedError: Neither happened within ``timeout`` seconds; the process has been ended.
        """
        deadline = time.monotonic() + timeout
        while self.running:
            if ready():
                return self.running
            if time.monotonic() > deadline:
                log = self.log
                self.stop()
                msg = f"{self.name} was not ready after {timeout:.0f} seconds:\n{log}"
                raise ServerFailedError(msg)
            time.sleep(0.03)
        return False

    def end(self) -> None:
        """End the process and keep its folder, for another `spawn`."""
        supervisor, self._supervisor = self._supervisor, None
        if supervisor is None:
            return
        assert supervisor.stdin is not None
        supervisor.stdin.close()
        try:
            supervisor.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(supervisor.pid, signal.SIGKILL)
            supervisor.wait(10)
        for path in self.leftovers:
            path.unlink(missing_ok=True)
        self.leftovers.clear()

    def stop(self) -> None:
        """End the process and remove its folder; safe to call twice."""
        self.end()
        shutil.rmtree(self.folder, ignore_errors=True)
        atexit.unregister(self.stop)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _with_descendants(pids: Sequence[int]) -> list[int]:
    return [one for pid in pids for one in (pid, *_with_descendants(_children(pid)))]


def start_with_retries(process: ServerProcess, attempt: Callable[[], bool]) -> None:
    """Call ``attempt``, which spawns and waits, until it is true.

    Raises:
        ServerFailedError: The server ended by itself every time.
    """
    for _ in range(ATTEMPTS):
        if attempt():
            return
        process.end()
    log = process.log
    process.stop()
    msg = f"{process.name} ended by itself {ATTEMPTS} times:\n{log}"
    raise ServerFailedError(msg)


def start_program(process: ServerProcess, program: str, *args: str) -> int:
    """Start a Python program that serves at the port of its first argument, and return that port.

    Raises:
        ServerFailedError: It ended by itself every time.
    """
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        process.spawn([sys.executable, "-W", "ignore", "-c", program, str(port), *args])
        return process.wait_until(lambda: accepts_connections(port))

    start_with_retries(process, attempt)
    return port


class RunningServer:
    """What all servers have in common: a process, an end, and use as a context manager."""

    def __init__(self, process: ServerProcess) -> None:
        self._process = process

    @property
    def process(self) -> ServerProcess:
        """Its process, for those who kill it, pause it, and start it again."""
        return self._process

    def stop(self) -> None:
        """End the server and remove what it kept."""
        self._process.stop()

    def __enter__(self) -> Self:
        """Return the running server."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self.stop()
