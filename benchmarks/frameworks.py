"""512 MB up and down through each framework, with a real server in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks._harness import Row
from tests.ext.big import MIB, Measured, server

SIZE = 512 * MIB
FRAMEWORKS = ("litestar", "fastapi", "starlette", "flask")


def transfers() -> Iterator[Row]:
    """Measure memory, speed and the event loop's lag; the bytes go to a directory, over loopback."""
    for framework in FRAMEWORKS:
        with tempfile.TemporaryDirectory() as folder, server(framework, Path(folder)) as running:
            running.upload(MIB)  # connections, threads and modules are the baseline
            running.download(1, MIB)
            yield from _rows(framework, "512 MB up, multipart", running.upload(SIZE))
            yield from _rows(framework, "512 MB down", running.download(2, SIZE))


def _rows(framework: str, what: str, measured: Measured) -> Iterator[Row]:
    peak, speed = measured.peak / MIB, SIZE / measured.seconds / 1e6
    where = f"{framework}, local directory"
    yield Row(what, f"{where}, peak", "", f"{peak:.0f} MiB at {speed:.0f} MB/s", None, "<= 64 MiB", peak <= 64)
    if framework != "flask":
        lag = measured.lag * 1e3
        yield Row(what, f"{where}, loop lag p99", "", f"{lag:.1f} ms", None, "<= 20 ms", lag <= 20)
