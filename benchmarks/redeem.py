"""``python -m benchmarks.redeem [--small 1000] [--large 1024]``: how long it takes to make rows of what clients have uploaded.

The uploads themselves are not timed: they are put into the store as a client's would be. On a real S3 server, in a directory and
in memory, one commit for each file, and one file of a gibibyte with the memory that it takes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
from obstore.store import S3Store
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StorageBackend, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from tests.servers import seaweedfs
from tests.tokens import said_by

SECRET = "a secret of this measurement, and no other"
SMALL = os.urandom(10 << 10)


class Base(DeclarativeBase):
    """Of the one table."""


class Paper(Base):
    """A row with a file."""

    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("bench"))


def claims(uploads: DirectUploads, raw: Any, contents: Iterator[Any], size: int) -> list[str]:
    """Be clients; return their claims."""
    found = []
    for content in contents:
        ticket = uploads.begin(filename="a.bin", size=size, content_type="application/octet-stream")
        path = said_by(ticket.claim)["path"]
        if isinstance(raw, StorageBackend):
            raw.put(path, content)
        else:
            obstore.put(raw, path, content)
        found.append(ticket.claim)
    return found


def redeem(uploads: DirectUploads, tokens: list[str], folder: Path) -> list[float]:
    """Make a row of each, one commit each; return how long each took."""
    engine = create_engine(f"sqlite:///{folder / 'bench.db'}")
    Base.metadata.create_all(engine)
    times = []
    with Session(engine) as session:
        for token in tokens:
            began = time.perf_counter()
            session.add(Paper(file=uploads.claim(token)))
            session.commit()
            times.append(time.perf_counter() - began)
            session.expunge_all()
    engine.dispose()
    return times


def chunks(mebibytes: int) -> Iterator[bytes]:
    """Yield a large content."""
    block = os.urandom(1 << 20)
    for _ in range(mebibytes):
        yield block


def resident() -> int:
    """Return the most memory this process has had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=1000, help="files of 10 KB")
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large file")
    options = parser.parse_args()
    server = seaweedfs.start()
    print("| store | files | each, median | whole | most memory beyond the start |\n|---|---|--:|--:|--:|")
    try:
        with tempfile.TemporaryDirectory(prefix="filerow-bench-") as name:
            folder = Path(name)
            s3 = {
                "aws_endpoint": server.endpoint,
                "aws_access_key_id": server.access_key,
                "aws_secret_access_key": server.secret_key,
            }
            backends: dict[str, StorageBackend] = {
                "memory": MemoryBackend("bench", base_url="/files", secret=SECRET),
                "directory": LocalBackend("bench", folder / "objects", base_url="/files", secret=SECRET, fsync=False),
                "S3": ObstoreBackend("bench", f"s3://{server.shared_bucket}/bench", **s3),  # type: ignore[arg-type]
            }
            for kind, backend in backends.items():
                storages.clear_backends()
                storages.register_backend(backend)
                uploads = DirectUploads(Paper.file, secret=SECRET, max_size="8 GB", multipart_from="8 GB")
                raw: Any = backend
                if isinstance(backend, ObstoreBackend):
                    raw = S3Store(server.shared_bucket, prefix="bench", client_options={"allow_http": True}, **s3)  # type: ignore[arg-type]
                sizes: list[tuple[int, bytes | None, int, str]] = [(options.small, SMALL, len(SMALL), "10 KB")]
                if kind != "memory":
                    sizes.append((1, None, options.large << 20, f"{options.large} MiB"))
                for count, content, size, what in sizes:
                    contents = iter([content] * count) if content is not None else iter([chunks(options.large)])
                    tokens = claims(uploads, raw, contents, size)
                    before = resident()
                    times = redeem(uploads, tokens, folder)
                    whole, each = sum(times), statistics.median(times) * 1e3
                    print(
                        f"| {kind} | {count:,} x {what} | {each:.1f} ms | {whole:.1f} s | {resident() - before} MiB |", flush=True
                    )
    finally:
        storages.clear_backends()
        server.stop()


if __name__ == "__main__":
    main()
