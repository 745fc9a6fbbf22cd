"""Where the application can live: SQLite and a directory, or PostgreSQL and S3, both made for one run."""

from __future__ import annotations

import secrets
import tempfile
import uuid
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from demo import audit
from demo.app import Settings
from demo.web import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("PLACES", "Place", "local", "s3")

_PREFIX = "files/"


@dataclass(frozen=True)
class Place:
    """A database and a store, with a way to look into each that Filerow does not know.

    Attributes:
        title: For the first line of the output.
        settings: For the application.
        rows: Reads the database.
        objects: Reads the store.
    """

    title: str
    settings: Settings
    rows: Callable[[], tuple[audit.Row, ...]]
    objects: Callable[[], dict[str, audit.Bytes]]

    def audit(self) -> audit.State:
        """Compare the store with the database.

        Raises:
            Disagreement: They differ.
        """
        return audit.take(self.rows(), self.objects())


@contextmanager
def local() -> Iterator[Place]:
    """Make an SQLite file and a directory in a temporary folder, and a server for the directory's signed URLs."""
    with tempfile.TemporaryDirectory(prefix="filerow-demo-") as folder, serving() as address:
        database, files = Path(folder, "library.db"), Path(folder, "files")
        files.mkdir()
        yield Place(
            title=f"SQLite and a directory, in {folder}",
            settings=Settings(
                f"sqlite:///{database}",
                f"sqlite+aiosqlite:///{database}",
                files.as_uri(),
                {"base_url": f"{address}/files", "secret": secrets.token_urlsafe(32)},
            ),
            rows=partial(audit.read_sqlite, database),
            objects=partial(audit.read_directory, files),
        )


@contextmanager
def s3() -> Iterator[Place]:
    """Start PostgreSQL and SeaweedFS on loopback, or use the S3 server that the environment names (docker/minio)."""
    from tests.servers import external_s3, postgres, seaweedfs

    with ExitStack() as stack:
        external = external_s3.is_configured()
        store = stack.enter_context(external_s3.start() if external else seaweedfs.start())
        database = stack.enter_context(postgres.start()).make_database("library")
        bucket = store.make_bucket(f"filerow-demo-{uuid.uuid4().hex[:12]}")
        options = {
            "aws_endpoint": store.endpoint,
            "aws_access_key_id": store.access_key,
            "aws_secret_access_key": store.secret_key,
            "aws_region": store.region,
        }
        yield Place(
            title=f"PostgreSQL and {'an external S3' if external else 'SeaweedFS'} at {store.endpoint}",
            settings=Settings(database.url("psycopg"), database.url("asyncpg"), f"s3://{bucket}/{_PREFIX}", options),
            rows=partial(audit.read_postgres, database.url()),
            objects=partial(audit.read_bucket, store.client, bucket, _PREFIX),
        )


PLACES: dict[str, Callable[[], AbstractContextManager[Place]]] = {"local": local, "s3": s3}
