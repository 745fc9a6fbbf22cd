"""A reader's folder and shell: what a page says is written and run in them, with the tests' own packages."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.documents.blocks import Block, blocks_of
from tests.servers._process import ROOT, ServerProcess, accepts_connections, free_ports

NOT_KEPT = ("PYTEST_", "FILEROW_", "COV_", "AWS_", "AZURE_", "GOOGLE_", "BROKER")
PROGRAMS = Path(sys.executable).parent


class Reader:
    """A reader, with an empty folder.

    Args:
        folder: The folder.
        more: Environment variables.
    """

    def __init__(self, folder: Path, **more: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(NOT_KEPT)}
        self.environment = {**kept, "PATH": f"{PROGRAMS}:/usr/local/bin:{kept['PATH']}:/usr/sbin", **more}

    def write(self, name: str, text: str) -> None:
        """Write a file; folders of ``/tmp`` that a page names become the reader's own."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("/tmp/filerow-", f"{self.folder}/filerow-"))

    def shell(self, script: str, *, codes: tuple[int, ...] = (0,), timeout: float = 300, folder: Path | None = None) -> str:
        """Run a script and return all that it prints."""
        done = subprocess.run(
            ["/bin/sh", "-c", script], cwd=folder or self.folder, env=self.environment, text=True, check=False, timeout=timeout,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode in codes, f"$ {script}\n{done.stdout[-6000:]}"
        assert "Traceback" not in done.stdout, f"$ {script}\n{done.stdout[-6000:]}"
        return done.stdout

    @contextmanager
    def running(self, command: str) -> Generator[ServerProcess]:
        """Start a program that goes on until it is stopped."""
        process = ServerProcess("reader", stop_signal=signal.SIGTERM)
        try:
            process.spawn(["/bin/sh", "-c", f'cd "{self.folder}" && exec env {command}'], environment=self.environment)
            yield process
        finally:
            process.stop()

    @contextmanager
    def serving(self, command: str) -> Generator[str]:
        """Start a web application by its command, at a port of the test's, and yield its address."""
        port = free_ports()
        with self.running(f"{command} --port {port}") as process:
            assert process.wait_until(lambda: accepts_connections(port), timeout=120), process.log
            yield f"http://127.0.0.1:{port}"


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block without their comments, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n?", block.text, flags=re.MULTILINE)
    assert not parts[0].strip(), f"{block}: a console block begins with a command"
    plain = [re.sub(r"\s+# .*$", "", command) for command in parts[1::2]]
    return list(zip(plain, parts[2::2], strict=True))


def python_of(page: str) -> list[str]:
    """Return the Python blocks of a page."""
    return [block.text for block in blocks_of(ROOT / page) if block.language == "python"]
