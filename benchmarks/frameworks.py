"""512 MB up and down through each framework, with a real server in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks._harness import Row
from tests.ext.big import MIB, Measured, server

SIZE = 512 * MIB
FRAMEWORKS = ("litestar", "fastapi", "starlette", "flask")


def transfers(s3: dict[str, str]) -> Iterator[Row]:
    """Measure memory, speed and the event loop's lag, with a directory and with an S3 server behind the application.

    Args:
        s3: The S3 server's endpoint, keys and bucket.
    """
    options = {
        "aws_endpoint": s3["endpoint"],
        "aws_access_key_id": s3["access_key"],
        "aws_secret_access_key": s3["secret_key"],
        "aws_region": "us-east-1",
    }
    for name, store in (("local", None), ("S3", (f"s3://{s3['bucket']}/frameworks", options))):
        for framework in FRAMEWORKS:
            with tempfile.TemporaryDirectory() as folder, server(framework, Path(folder), store) as running:
                running.upload(MIB)  # connections, threads and modules are the baseline
                running.download(1, MIB)
                yield from _rows(framework, name, "512 MB up, multipart", running.upload(SIZE))
                yield from _rows(framework, name, "512 MB down", running.download(2, SIZE))


def _rows(framework: str, store: str, what: str, measured: Measured) -> Iterator[Row]:
    peak, speed = measured.peak / MIB, SIZE / measured.seconds / 1e6
    where = f"{framework}, {store}"
    yield Row(what, f"{where}, peak", "", f"{peak:.0f} MiB at {speed:.0f} MB/s", None, "<= 64 MiB", peak <= 64)
    if framework != "flask":
        lag = measured.lag * 1e3
        yield Row(what, f"{where}, loop lag p99", "", f"{lag:.1f} ms", None, "<= 20 ms", lag <= 20)
