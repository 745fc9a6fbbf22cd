# ruff: noqa: ARG002, D102 - what the methods do is written once, in Library, and not all need all arguments
"""One adapter per library: how its documentation says to set it up, to declare a column and to make a file.

Set-up is counted in the source of `register` and `sessions`: nothing stands there that the library does not ask for.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from sqlalchemy.orm import sessionmaker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

    from benchmarks.compare.lab import S3


class Library(ABC):
    """What the experiments ask of a library."""

    title: str
    distributions: tuple[str, ...]
    modules: tuple[str, ...]
    """What would cost each experiment time to import."""
    recipes: Mapping[str, str] = {}
    """Experiments that succeed when the application does something by hand, and what; see `recipe=` below."""

    @abstractmethod
    def register(self, folder: str) -> None:
        """Make the directory known to the library; it exists."""

    @abstractmethod
    def register_s3(self, s3: S3) -> None:
        """Make a bucket known to the library."""

    def sessions(self, engine: Engine) -> Any:
        """Make the factory of sessions."""
        return sessionmaker(engine)

    def async_sessions(self, engine: AsyncEngine) -> Any:
        """Make the factory of asynchronous sessions."""
        return async_sessionmaker(engine, expire_on_commit=False)

    @abstractmethod
    def column(self, *, multiple: bool = False, recipe: bool = False) -> Any:
        """Make the type of a column."""

    @abstractmethod
    def file(self, filename: str, content: Any, *, recipe: bool = False) -> Any:
        """Make what is assigned to the column."""

    def image(self, size: int) -> Any:
        """Make the type of a column for images with a thumbnail of at most this many pixels; a plain column if there is none."""
        return self.column()

    def thumbnail(self, file: Any) -> bytes | None:
        """Return the thumbnail of what was read back from such a column; none if the library has none."""
        return None

    @abstractmethod
    def path(self, document: dict[str, Any]) -> str:
        """Return the path below the directory that a stored document means."""

    @abstractmethod
    def sign(self, file: Any) -> str:
        """Sign a URL for downloading what was read back from the column."""


class Filerow(Library):
    """This project."""

    title = "Filerow"
    distributions = ("filerow",)
    modules = ("filerow.backends.local", "filerow.backends.obstore")

    def register(self, folder: str) -> None:
        from filerow import storages

        storages.register_backend(f"file://{folder}", key="docs")

    def register_s3(self, s3: S3) -> None:
        from filerow import storages

        storages.register_backend(
            f"s3://{s3.bucket}/",
            key="docs",
            aws_endpoint=s3.endpoint,
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
            aws_region=s3.region,
        )

    def column(self, *, multiple: bool = False, recipe: bool = False) -> Any:
        from filerow import StoredObject

        return StoredObject("docs", multiple=multiple)

    def image(self, size: int) -> Any:
        from filerow import StoredObject
        from filerow.variants import Resize

        small = Resize(width=size, height=size)
        return StoredObject("docs", content_types=["image/*"], variants={"small": small}, make_variants="commit")

    def thumbnail(self, file: Any) -> bytes | None:
        return bytes(file.variant("small").get_content())

    def file(self, filename: str, content: Any, *, recipe: bool = False) -> Any:
        from filerow import FileObject

        return FileObject(filename=filename, content=content)

    def path(self, document: dict[str, Any]) -> str:
        return str(document["path"])

    def sign(self, file: Any) -> str:
        return str(file.sign(expires_in=300))


class AdvancedAlchemy(Library):
    """Its column type with its obstore backend, in sessions that its configuration objects make."""

    title = "Advanced Alchemy"
    distributions = ("advanced-alchemy",)
    modules = ("advanced_alchemy.config", "advanced_alchemy.types.file_object.backends.obstore")
    recipes = {  # noqa: RUF012 - nothing writes to it
        "same_name": "yes when the application makes each `to_filename` unique",
        "replace_same_name": "yes when the application makes each `to_filename` unique",
        "list_append": "yes when the column is `FileObjectList.as_mutable(StoredObject(...))`",
        "list_remove": "yes when the column is `FileObjectList.as_mutable(StoredObject(...))`",
    }

    def register(self, folder: str) -> None:
        from advanced_alchemy.types import storages  # type: ignore[import-not-found, unused-ignore]

        storages.register_backend(f"file://{folder}/", key="docs")

    def register_s3(self, s3: S3) -> None:
        from advanced_alchemy.types import storages
        from advanced_alchemy.types.file_object.backends.obstore import (  # type: ignore[import-not-found, unused-ignore]
            ObstoreBackend,
        )

        backend = ObstoreBackend(
            key="docs",
            fs=f"s3://{s3.bucket}/",
            aws_endpoint=s3.endpoint,
            aws_access_key_id=s3.access_key,
            aws_secret_access_key=s3.secret_key,
            aws_region=s3.region,
            client_options={"allow_http": True},
        )
        storages.register_backend(backend)

    def sessions(self, engine: Engine) -> Any:
        from advanced_alchemy.config import SQLAlchemySyncConfig  # type: ignore[import-not-found, unused-ignore]

        return SQLAlchemySyncConfig(engine_instance=engine).create_session_maker()

    def async_sessions(self, engine: AsyncEngine) -> Any:
        from advanced_alchemy.config import AsyncSessionConfig, SQLAlchemyAsyncConfig

        session_config = AsyncSessionConfig(expire_on_commit=False)
        return SQLAlchemyAsyncConfig(engine_instance=engine, session_config=session_config).create_session_maker()

    def column(self, *, multiple: bool = False, recipe: bool = False) -> Any:
        from advanced_alchemy.types import FileObjectList, StoredObject

        column = StoredObject(backend="docs", multiple=multiple)
        return FileObjectList.as_mutable(column) if recipe and multiple else column

    def file(self, filename: str, content: Any, *, recipe: bool = False) -> Any:
        from advanced_alchemy.types import FileObject

        to_filename = f"{uuid4()}-{filename}" if recipe else None
        return FileObject(backend="docs", filename=filename, to_filename=to_filename, content=content)

    def path(self, document: dict[str, Any]) -> str:
        return str(document["filename"])

    def sign(self, file: Any) -> str:
        return str(file.sign(expires_in=300))


class SQLAlchemyFile(Library):
    """Its column type on the drivers of Apache Libcloud."""

    title = "sqlalchemy-file"
    distributions = ("sqlalchemy-file", "apache-libcloud")
    modules = ("sqlalchemy_file.storage", "libcloud.storage.drivers.local")

    def register(self, folder: str) -> None:
        from libcloud.storage.drivers.local import (  # type: ignore[import-not-found, unused-ignore]
            LocalStorageDriver,
        )
        from sqlalchemy_file.storage import StorageManager  # type: ignore[import-not-found, unused-ignore]

        make: Any = LocalStorageDriver
        os.makedirs(f"{folder}/docs", exist_ok=True)  # noqa: PTH103 - as its documentation has it
        StorageManager.add_storage("docs", make(folder).get_container("docs"))

    def register_s3(self, s3: S3) -> None:
        from libcloud.storage.providers import get_driver  # type: ignore[import-not-found, unused-ignore]
        from libcloud.storage.types import Provider  # type: ignore[import-not-found, unused-ignore]
        from sqlalchemy_file.storage import StorageManager

        server = urlsplit(s3.endpoint)
        make: Any = get_driver(Provider.S3)
        address = {"secure": False, "host": server.hostname, "port": server.port, "region": s3.region}
        driver = make(s3.access_key, s3.secret_key, **address)
        StorageManager.add_storage("docs", driver.get_container(container_name=s3.bucket))

    def column(self, *, multiple: bool = False, recipe: bool = False) -> Any:
        from sqlalchemy_file import FileField  # type: ignore[import-not-found, unused-ignore]

        return FileField(upload_storage="docs", multiple=multiple)

    def image(self, size: int) -> Any:
        from sqlalchemy_file import ImageField
        from sqlalchemy_file.processors import ThumbnailGenerator  # type: ignore[import-not-found, unused-ignore]

        return ImageField(upload_storage="docs", processors=[ThumbnailGenerator((size, size))])

    def thumbnail(self, file: Any) -> bytes | None:
        from sqlalchemy_file.storage import StorageManager

        return bytes(StorageManager.get_file(file["thumbnail"]["path"]).read())

    def file(self, filename: str, content: Any, *, recipe: bool = False) -> Any:
        from sqlalchemy_file import File

        return File(content=content, filename=filename)

    def path(self, document: dict[str, Any]) -> str:
        return str(document["path"])

    def sign(self, file: Any) -> str:
        return str(file.file.get_cdn_url())


LIBRARIES: dict[str, Library] = {
    "filerow": Filerow(),
    "advanced-alchemy": AdvancedAlchemy(),
    "sqlalchemy-file": SQLAlchemyFile(),
}
