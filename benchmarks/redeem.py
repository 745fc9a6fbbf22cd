"""``python -m benchmarks.redeem [--small 1000] [--large 1024]``: how long it takes to make rows of what clients have uploaded.

The uploads themselves are not timed: they are put into the store as a client's would be. In memory, in a directory, on a real S3
server, on Azurite and on fake-gcs-server (through gcsfs, as obstore cannot write to it), one commit for each file, and one of a
gibibyte with the memory that it takes.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StorageBackend, StoredObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from tests.servers import azurite, fake_gcs, seaweedfs
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


def claims(uploads: DirectUploads, backend: StorageBackend, contents: Iterator[Any], size: int) -> list[str]:
    """Be clients; return their claims."""
    found = []
    for content in contents:
        ticket = uploads.begin(filename="a.bin", size=size, content_type="application/octet-stream")
        path = said_by(ticket.claim)["path"]
        backend.put(path, content)
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


class Unsigned(FSSpecBackend):
    """gcsfs without an account: nobody uploads to what it signs here."""

    def __init__(self, key: str, fs: str, **options: Any) -> None:
        super().__init__(key, fs, **options)
        self.capabilities = self.capabilities._replace(sign_put=True)

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        return [f"{path}?{request.method}" for path in paths]


def backends(folder: Path, running: ExitStack) -> Iterator[tuple[str, StorageBackend]]:
    """Yield what is measured, each with its name."""
    yield "memory", MemoryBackend("bench", base_url="/files", secret=SECRET)
    yield "directory", LocalBackend("bench", folder / "objects", base_url="/files", secret=SECRET, fsync=False)
    s3 = running.enter_context(seaweedfs.start())
    keys: dict[str, Any] = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": s3.secret_key}
    yield "S3", ObstoreBackend("bench", f"s3://{s3.shared_bucket}/bench", aws_endpoint=s3.endpoint, **keys)
    there = {"key": s3.access_key, "secret": s3.secret_key}
    where: dict[str, Any] = {"endpoint_url": s3.endpoint, "client_kwargs": {"region_name": s3.region}}
    yield "S3, s3fs", FSSpecBackend("bench", f"s3://{s3.shared_bucket}/s3fs", storage_options=there, **where)
    azure = running.enter_context(azurite.start())
    account: dict[str, Any] = {"account_name": azure.account_name, "account_key": azure.account_key, "endpoint": azure.endpoint}
    yield "Azurite", ObstoreBackend("bench", f"az://{azure.make_container()}/bench", **account)
    google = running.enter_context(fake_gcs.start())
    yield (
        "fake-gcs, gcsfs",
        Unsigned("bench", f"gs://{google.make_bucket()}", project=google.project, token="anon", endpoint_url=google.endpoint),
    )


def measure(kind: str, backend: StorageBackend, folder: Path, small: int, large: int) -> None:
    """Print the lines of one store."""
    storages.clear_backends()
    storages.register_backend(backend)
    uploads = DirectUploads(Paper.file, secret=SECRET, max_size="8 GB", multipart_from="8 GB")
    sizes: list[tuple[int, bytes | None, int, str]] = [(small, SMALL, len(SMALL), "10 KB")]
    if kind != "memory":
        sizes.append((1, None, large << 20, f"{large} MiB"))
    for count, content, size, what in sizes:
        contents = iter([content] * count) if content is not None else iter([chunks(large)])
        tokens = claims(uploads, backend, contents, size)
        before = resident()
        times = redeem(uploads, tokens, folder)
        whole, each = sum(times), statistics.median(times) * 1e3
        print(f"| {kind} | {count:,} x {what} | {each:.1f} ms | {whole:.1f} s | {resident() - before} MiB |", flush=True)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=1000, help="files of 10 KB")
    parser.add_argument("--large", type=int, default=1024, help="MiB of the large file")
    options = parser.parse_args()
    fake_gcs.quiet_gcsfs()
    print("| store | files | each, median | whole | most memory beyond the start |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory(prefix="filerow-bench-") as name, ExitStack() as running:
        running.callback(storages.clear_backends)
        for kind, backend in backends(Path(name), running):
            measure(kind, backend, Path(name), options.small, options.large)


if __name__ == "__main__":
    main()
