"""Stores, models whose columns have options, and what a store's own client reads back."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpx
import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, registry

from filerow import FileObject, FileObjectList, StorageBackend, StoredObject, StoredWith, storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.obstore import ObstoreBackend
from tests.backends.stores import bucket_of, s3_options, s3fs_options, shared
from tests.direct.conftest import Side, Store, make_store, send, side, site
from tests.direct.site import Site

__all__ = ("Side", "send", "side", "site")

CACHE = "public, max-age=31536000, immutable"
TAGS = {"team": "a b", "kind": "scan"}
METADATA = {"Origin": "scanner ü", "batch-no": "7"}
CLASSES = {"moto": "STANDARD_IA", "azure": "Cool", "fsspec-azure": "Cool", "gcs": "STANDARD_IA", "fsspec-moto": "STANDARD_IA"}
"""SeaweedFS does not report the class, so moto does for S3, and behind the facade of Google; gcsfs cannot ask for one."""
TAGGED = {"s3", "moto", "azure", "fsspec-s3", "fsspec-moto", "fsspec-azure"}


def options_on(kind: str) -> StoredWith:
    """All that a store keeps."""
    tags = TAGS if kind in TAGGED else {}
    return StoredWith(cache_control=CACHE, storage_class=CLASSES.get(kind), tags=tags, metadata=METADATA)


@dataclass(frozen=True)
class Found:
    """What a store's own client says of an object.

    Attributes:
        cache_control: The header.
        storage_class: The class or tier.
        tags: The tags.
        metadata: User metadata, decoded; keys with ``-``.
        content_disposition: The header.
    """

    cache_control: str | None
    storage_class: str | None
    tags: dict[str, str]
    metadata: dict[str, str]
    content_disposition: str | None


class Model:
    """Classes of rows whose files are stored with something.

    Attributes:
        Scan: Its ``file`` and ``pages`` are stored with the options, its ``other`` with another ``Cache-Control``, its ``plain``
            with nothing.
    """

    def __init__(self, options: StoredWith, **column: Any) -> None:
        class Base(DeclarativeBase):
            registry = registry()

        class Scan(Base):
            __tablename__ = "scan"
            id: Mapped[int] = mapped_column(primary_key=True)
            file: Mapped[FileObject | None] = mapped_column(StoredObject("direct", stored_with=options, **column))
            pages: Mapped[FileObjectList] = mapped_column(StoredObject("direct", multiple=True, stored_with=options, **column))
            other: Mapped[FileObject | None] = mapped_column(
                StoredObject("direct", stored_with=StoredWith(cache_control="no-store"), **column)
            )
            plain: Mapped[FileObject | None] = mapped_column(StoredObject("direct", **column))

        self.Base: Any = Base
        self.Scan: Any = Scan
        self.engine = create_engine("sqlite://")
        Base.metadata.create_all(self.engine)


class KeptStore:
    """A backend, registered as ``direct``, and the client of its store."""

    def __init__(self, store: Store, read: Callable[[str], Found]) -> None:
        self.kind = store.kind
        self.store = store
        self.backend = store.backend
        self.options = options_on(store.kind)
        self.found = read

    def expect(self, path: str, options: StoredWith | None = None) -> None:
        """Compare what an object is stored with."""
        options, found = self.options if options is None else options, self.found(path)
        assert found.cache_control == options.cache_control
        assert found.metadata == {name.lower(): value for name, value in options.metadata.items()}
        assert found.tags == options.tags
        if self.kind in CLASSES:
            assert found.storage_class == options.storage_class or (found.storage_class, options.storage_class) == (
                "STANDARD",
                None,
            )
        assert found.content_disposition == 'inline; filename="cat.png"'


def of_s3(server: Any, bucket: str, prefix: str) -> Callable[[str], Found]:
    def read(path: str) -> Found:
        where = {"Bucket": bucket, "Key": f"{prefix}{path}"}
        head = server.client.head_object(**where)
        tags = {tag["Key"]: tag["Value"] for tag in server.client.get_object_tagging(**where)["TagSet"]}
        metadata = {name.lower(): unquote(value) for name, value in head["Metadata"].items()}
        return Found(head.get("CacheControl"), head.get("StorageClass"), tags, metadata, head.get("ContentDisposition"))

    return read


def of_azure(server: Any, container: str, prefix: str) -> Callable[[str], Found]:
    def read(path: str) -> Found:
        with server.client() as client:
            blob = client.get_blob_client(container, f"{prefix}{path}")
            found, tags = blob.get_blob_properties(), blob.get_blob_tags()
        tier = None if found.blob_tier_inferred else str(found.blob_tier)
        settings = found.content_settings
        metadata = {name.lower().replace("_", "-"): unquote(value) for name, value in found.metadata.items()}
        metadata.pop("is-directory", None)  # adlfs' own
        return Found(settings.cache_control, tier, dict(tags or {}), metadata, settings.content_disposition)

    return read


def of_gcs(endpoint: str, bucket: str, prefix: str) -> Callable[[str], Found]:
    def read(path: str) -> Found:
        name = quote(f"{prefix}{path}", safe="")
        found = httpx.get(f"{endpoint}/storage/v1/b/{bucket}/o/{name}", headers={"authorization": "Bearer x"}).json()
        metadata = {name.lower(): unquote(value) for name, value in found.get("metadata", {}).items()}
        return Found(found.get("cacheControl"), found.get("storageClass"), {}, metadata, found.get("contentDisposition"))

    return read


def make_kept(request: pytest.FixtureRequest, site: Site, folder: Path, kind: str, **options: Any) -> KeptStore:
    """Make a store of some kind, and register it.

    Args:
        request: Has the fixtures of the servers.
        site: The application.
        folder: For files.
        kind: Which.
        options: Those of the backend, on S3.
    """
    if kind in {"s3", "s3-put", "moto", "fsspec-moto"} or options:
        server, bucket = bucket_of(request, "moto_server" if "moto" in kind else "s3_server")
        store = Store(kind, on_s3(server, bucket, fsspec=kind.startswith("fsspec"), **options), site)
        store.options = {"s3_method": "PUT" if kind == "s3-put" else "POST"}
    else:
        store = make_store(request, site, folder, kind)
    storages.register_backend(store.backend)
    return KeptStore(store, reader_of(request, store))


def on_s3(server: Any, bucket: str, *, fsspec: bool = False, **options: Any) -> StorageBackend:
    """Return a backend in a folder of a bucket."""
    where = f"s3://{bucket}/{uuid.uuid4().hex}"
    if not fsspec:
        return ObstoreBackend("direct", where, **{**s3_options(server), **options})
    if options:
        return FSSpecBackend("direct", where, **{**s3fs_options(server), **options})
    return FSSpecBackend("direct", shared(where, **s3fs_options(server)).fs, prefix=where.removeprefix("s3://"))


def reader_of(request: pytest.FixtureRequest, store: Store) -> Callable[[str], Found]:
    """Return what looks at an object of a store."""
    backend: Any = store.backend
    if isinstance(backend, ObstoreBackend):
        config = backend.store.config
        bucket = str(config.get("bucket") or config.get("container_name"))
        prefix = f"{backend.store.prefix}/"
    else:
        bucket, _, prefix = backend._root.partition("/")
        prefix = f"{prefix}/"
    if backend.protocol in {"az", "abfs"}:
        return of_azure(request.getfixturevalue("azurite_server"), bucket, prefix)
    if backend.protocol in {"gs", "gcs"}:
        server = request.getfixturevalue("gcs_server" if store.kind == "fsspec-gcs" else "gcs_facade")
        return of_gcs(server.endpoint, bucket, prefix)
    return of_s3(request.getfixturevalue("moto_server" if "moto" in store.kind else "s3_server"), bucket, prefix)


@pytest.fixture
def session_of() -> Iterator[Callable[[Model], Session]]:
    """Open sessions on the empty databases of models, and close them."""
    opened: list[tuple[Session, Model]] = []

    def session(model: Model) -> Session:
        opened.append((Session(model.engine), model))
        return opened[-1][0]

    yield session
    for one, model in opened:
        one.close()
        model.engine.dispose()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Forget the backends, and the columns of models that nobody has any more but the garbage collector."""
    yield
    storages.clear_backends()
    storages._expected.clear()  # pyright: ignore[reportPrivateUsage]
