"""A table with a column of paths and URLs, and the file column that takes its place."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject


class PhotoBase(DeclarativeBase):
    """Of its own."""


class Photo(PhotoBase):
    __tablename__ = "photo"
    id: Mapped[int] = mapped_column(primary_key=True)
    photo_path: Mapped[str | None] = mapped_column(String(300))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


PHOTOS: Any = Photo.__table__
