"""Databases as the real Advanced Alchemy and sqlalchemy-file leave them, and the same tables as ours."""

from __future__ import annotations

import gc
import io
import warnings
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.outbox import Outbox
from tests.places import RECORD

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import sqlalchemy_file
    from advanced_alchemy import types as alchemy
    from advanced_alchemy.config import SQLAlchemySyncConfig
    from advanced_alchemy.types.file_object.backends.obstore import ObstoreBackend
    from libcloud.storage.drivers.local import LocalStorageDriver
    from sqlalchemy_file.storage import StorageManager

CONTENTS = {
    1: [b"first", b"page 1", b"page 2"],
    2: [b"second"],
    3: [b"first"],  # shares the first one's object
    4: [b"fourth"],  # whose object is missing
    5: [],
}
"""What the files of each row hold."""


class AlchemyBase(DeclarativeBase):
    """Advanced Alchemy's."""


class FileBase(DeclarativeBase):
    """sqlalchemy-file's."""


class Plain(DeclarativeBase):
    """Ours."""


class Kept(DeclarativeBase):
    """Ours with an outbox."""


class AlchemyPaper(AlchemyBase):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[Any] = mapped_column(alchemy.StoredObject(backend="docs"), nullable=True)
    pages: Mapped[Any] = mapped_column(alchemy.FileObjectList.as_mutable(alchemy.StoredObject("docs", multiple=True)))


class FilePaper(FileBase):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[Any] = mapped_column(sqlalchemy_file.FileField(upload_storage="docs"), nullable=True)
    pages: Mapped[Any] = mapped_column(sqlalchemy_file.FileField(upload_storage="docs", multiple=True), nullable=True)


class FilePicture(FileBase):
    __tablename__ = "picture"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[Any] = mapped_column(sqlalchemy_file.ImageField(upload_storage="docs", thumbnail_size=(8, 8)))


class _Paper:
    __tablename__: Any = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class PlainPaper(_Paper, Plain):
    """A row of ours."""


class KeptPaper(_Paper, Kept):
    """A row of ours, with an outbox."""


class Picture(Plain):
    __tablename__ = "picture"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


outbox = Outbox(Kept.metadata)


def write_with_advanced_alchemy(engine: Engine, folder: Path) -> None:
    """Make the rows of ``CONTENTS`` with Advanced Alchemy."""
    alchemy.storages.register_backend(ObstoreBackend(key="docs", fs=f"file://{folder}/"))
    try:
        AlchemyBase.metadata.create_all(engine)
        sessions = SQLAlchemySyncConfig(engine_instance=engine).create_session_maker()
        with sessions() as session:
            for number in (1, 2, 4):
                file, *pages = [
                    alchemy.FileObject("docs", f"{number}-{n}.txt", to_filename=f"some/{number}-{n}.txt", content=content)
                    for n, content in enumerate(CONTENTS[number])
                ]
                session.add(AlchemyPaper(id=number, file=file, pages=pages))
            session.add(AlchemyPaper(id=5, file=None, pages=[]))
            session.commit()
            shared = session.get_one(AlchemyPaper, 1).file
            session.add(AlchemyPaper(id=3, file=shared, pages=[]))
            session.commit()
        (folder / "some" / "4-0.txt").unlink()
    finally:
        alchemy.storages.unregister_backend("docs")


def write_with_sqlalchemy_file(engine: Engine, folder: Path) -> None:
    """Make the rows of ``CONTENTS``, and one picture, with sqlalchemy-file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves temporary files open
        _write_with_sqlalchemy_file(engine, folder)
        gc.collect()


def _write_with_sqlalchemy_file(engine: Engine, folder: Path) -> None:
    from PIL import Image

    make: Any = LocalStorageDriver
    driver = make(str(folder.parent))
    StorageManager._clear()
    StorageManager.add_storage("docs", driver.get_container(folder.name))
    try:
        FileBase.metadata.create_all(engine)
        image = io.BytesIO()
        Image.new("RGB", (16, 16)).save(image, "PNG")
        image.seek(0)
        with Session(engine) as session:
            for number in (1, 2, 4):
                file, *pages = [
                    sqlalchemy_file.File(
                        content=io.BytesIO(content), filename=f"{number}-{n}.txt", extra={"meta_data": {"page": n}}
                    )
                    for n, content in enumerate(CONTENTS[number])
                ]
                session.add(FilePaper(id=number, file=file, pages=pages))
            session.add(FilePaper(id=5, file=None))
            session.add(FilePicture(id=1, file=sqlalchemy_file.File(content=image, filename="cat.png")))
            session.commit()
            session.add(FilePaper(id=3, file=sqlalchemy_file.File(dict(session.get_one(FilePaper, 1).file))))
            session.commit()
            (folder / session.get_one(FilePaper, 4).file["file_id"]).unlink()
    finally:
        StorageManager._clear()


WRITERS = {"advanced-alchemy": write_with_advanced_alchemy, "sqlalchemy-file": write_with_sqlalchemy_file}


def contents(engine: Engine, model: Any) -> dict[int, list[bytes]]:
    """Return what the files of all rows hold, but those that are missing."""
    with Session(engine) as session:
        rows = session.scalars(select(model).order_by(model.id)).all()
        found = {row.id: [file for file in (row.file, *row.pages) if file is not None] for row in rows}
        return {number: [file.get_content() for file in files if file.exists()] for number, files in found.items()}


def names() -> set[str]:
    """Return the paths of all objects."""
    return {info.path for info in storages.get_backend("docs").list()} - {RECORD}
