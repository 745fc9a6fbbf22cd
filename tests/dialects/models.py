"""The tables of these tests: with an outbox where the database counts up keys by itself, and without one everywhere."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox

_numbers = itertools.count(1)


class Plain(DeclarativeBase):
    pass


class Noted(DeclarativeBase):
    pass


class _Columns:
    title: Mapped[str | None] = mapped_column(String(40))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Document(_Columns, Plain):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False, default=lambda: next(_numbers))


class NotedDocument(_Columns, Noted):
    __tablename__ = "noted_document"
    id: Mapped[int] = mapped_column(primary_key=True)


OUTBOX = Outbox(Noted.metadata, retention=timedelta(0))
MODELS: dict[str, Any] = {"plain": Document, "outbox": NotedDocument}
