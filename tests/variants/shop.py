"""A table with photos and their variants, and the stores that hold them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StorageBackend, StoredObject, storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.http import Body, Reply
from filerow.variants import Resize, Thumbnail
from tests.backends.stores import s3_options, s3fs_options
from tests.variants.pictures import four_colours, saved

SECRET = "a secret that only these tests know"
THUMB = Thumbnail(20, 20)
KEY = "photos"


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    photo: Mapped[FileObject | None] = mapped_column(
        StoredObject(KEY, variants={"thumb": THUMB, "w40": Resize(width=40), "w60": Resize(width=60, format="jpeg")})
    )


class Place(NamedTuple):
    """Where the photos are.

    Attributes:
        make: Returns the backend, of the endpoint of a server.
        endpoint: The server's; empty if there is none.
    """

    make: Callable[[str], StorageBackend]
    endpoint: str = ""


def memory(_: pytest.FixtureRequest, __: Path) -> Place:
    return Place(lambda _: MemoryBackend(KEY, base_url="/files", secret=SECRET))


def directory(_: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(lambda _: LocalBackend(KEY, tmp_path / "photos", fsync=False, base_url="/files", secret=SECRET))


def without_urls(_: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(lambda _: LocalBackend(KEY, tmp_path / "photos", fsync=False))


def obstore(request: pytest.FixtureRequest, _: Path) -> Place:
    server = request.getfixturevalue("s3_server")
    place = f"s3://{server.shared_bucket}/{server.make_prefix().strip('/')}"
    options = s3_options(server)
    return Place(lambda endpoint: ObstoreBackend(KEY, place, **{**options, "aws_endpoint": endpoint}), server.endpoint)


def s3fs(request: pytest.FixtureRequest, _: Path) -> Place:
    server = request.getfixturevalue("s3_server")
    place = f"s3://{server.shared_bucket}/{server.make_prefix().strip('/')}"
    options = s3fs_options(server)
    return Place(lambda endpoint: FSSpecBackend(KEY, place, **{**options, "endpoint_url": endpoint}), server.endpoint)


PLACES = {"memory": memory, "local": directory, "without_urls": without_urls, "s3-obstore": obstore, "s3-s3fs": s3fs}


def a_photo(width: int = 80, height: int = 40) -> bytes:
    return saved(four_colours(width, height), "JPEG")


def stored(content: bytes | None = None, filename: str = "me.jpg", kind: type[Any] = Item, **given: Any) -> FileObject:
    """Commit a row with a photo, and return its file."""
    engine = create_engine("sqlite://")
    kind.metadata.create_all(engine)
    with Session(engine, expire_on_commit=False) as session:
        item = kind(photo=FileObject(filename=filename, content=content or a_photo(), **given))
        session.add(item)
        session.commit()
    engine.dispose()
    found: FileObject = item.photo
    return found


def register(backend: StorageBackend) -> StorageBackend:
    storages.clear_backends()
    storages.register_backend(backend)
    return backend


def parts(url: str) -> tuple[str, str, str]:
    """Return backend, path and query of a URL of our route, as a framework hands them over."""
    split = urlsplit(url)
    _, _, key, path = split.path.split("/", 3)
    return unquote(key), unquote(path), split.query


def read(reply: Reply) -> bytes:
    return b"".join(reply.body.stream()) if isinstance(reply.body, Body) else reply.body


def objects(backend: Any) -> list[str]:
    return sorted(info.path for info in backend.list())
