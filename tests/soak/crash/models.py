"""One model twice: without an outbox, and with one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.outbox import Outbox

KEYS = ("docs", "old")
SECRET = "of the tests, and 32 bytes long or longer"

LEASE = timedelta(seconds=0.5)
"""How long a drain that was killed keeps its tombstones from others."""


class Paper:
    """What both have."""

    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Former(DeclarativeBase):
    """What the application was before its column got another backend."""


class FormerPaper(Former):
    """A row whose files are in the older backend."""

    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("old"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("old", multiple=True))


class Plain(DeclarativeBase):
    """Without an outbox."""


class Kept(DeclarativeBase):
    """With one."""


class PlainPaper(Paper, Plain):
    """A row whose dropped files are deleted after its commit."""


class KeptPaper(Paper, Kept):
    """A row whose dropped files are noted in the outbox."""


outbox = Outbox(Kept.metadata, retention=timedelta(0), lease=LEASE)


def model(*, with_outbox: bool) -> Any:
    """Return the class to use."""
    return KeptPaper if with_outbox else PlainPaper
