"""Programs with a deadline: each has a process group of its own, which is ended by its id, whatever the program did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.servers._process import HOST, ROOT, free_ports

DEADLINE = 60.0
"""Seconds that anything may take on a busy machine; what hangs, hangs for longer."""


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with more, in which this checkout and its tests are imported."""
    return {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONUNBUFFERED": "1", **more}


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)


def run(module: str, *arguments: str, settings: Mapping[str, str] | None = None) -> Any:
    """Run ``python -m module`` to its end and return the JSON that it printed last.

    It fails the test when the program has not ended within the deadline, or has ended with an error.
    """
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-W", "ignore:.*fork.*:DeprecationWarning", "-m", module, *arguments],
        env=environment(settings or {}), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        written, errors = process.communicate(timeout=DEADLINE)
    except subprocess.TimeoutExpired:
        _end(process)
        written, errors = process.communicate()
        raise AssertionError(f"{module} {' '.join(arguments)} hung; it wrote\n{(written + errors).decode()[-3000:]}") from None
    finally:
        _end(process)
    assert process.returncode == 0, f"{module} ended with {process.returncode}:\n{(written + errors).decode()[-5000:]}"
    return json.loads(written.decode().strip().splitlines()[-1])


class Service:
    """A program that serves until it is stopped.

    Attributes:
        port: Where it listens, if it does.
        log_file: Where it writes.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self._process = process
        self.port = port
        self.log_file = log

    @property
    def log(self) -> str:
        """The end of what it wrote."""
        return self.log_file.read_text(errors="replace")[-5000:]

    def get(self, path: str) -> Any:
        """Return the JSON that a request is answered with."""
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{path}", timeout=DEADLINE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            error.close()
            raise AssertionError(f"{path} was answered with {error.code}:\n{self.log}") from None

    def wait_until(self, true: Callable[[], bool]) -> None:
        """Wait for something, as long as the program runs."""
        ends = time.monotonic() + DEADLINE
        while not true():
            assert self._process.poll() is None, f"it has ended with {self._process.returncode}:\n{self.log}"
            assert time.monotonic() < ends, f"it never came true:\n{self.log}"
            time.sleep(0.05)

    def end(self) -> int:
        """Ask it to end, wait for that, and return its exit code; fail the test if it does not end by itself."""
        self._process.terminate()
        try:
            return self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end when it was asked to:\n{self.log}") from None


@contextmanager
def serving(argv: Callable[[int], Sequence[str]], folder: Path, settings: Mapping[str, str]) -> Iterator[Service]:
    """Run ``python -m …`` with a port that is free, until the block ends."""
    port = free_ports()
    log = folder / f"log-{port}"
    with log.open("wb") as written:
        process = subprocess.Popen(
            [sys.executable, *argv(port)], env=environment(settings), cwd=folder, stdin=subprocess.DEVNULL, stdout=written,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        yield Service(process, port, log)
    finally:
        _end(process)
