"""A trigger of MariaDB that puts documents back, also when the transaction sees the row as it once was."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.backends.memory import MemoryBackend
from tests.databases import EmptyDatabase

FROZEN = "CREATE TRIGGER frozen BEFORE UPDATE ON paper FOR EACH ROW SET NEW.file = IF(@frozen, OLD.file, NEW.file)"
"""Freezes files in connections that ask for it."""


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def engine(database: EmptyDatabase, docs: MemoryBackend) -> Engine:
    engine = database.engine()
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Paper(id=number, file=FileObject(content=b"old %d" % number)) for number in (1, 2)])
        session.commit()
        session.execute(text(FROZEN))
    return engine


on_mariadb = pytest.mark.parametrize("database", ["mariadb"], indirect=True)


def content(engine: Engine) -> bytes:
    with Session(engine) as session:
        file = session.get_one(Paper, 1).file
        assert file is not None
        return file.get_content()


@on_mariadb
def test_put_back_document_keeps_its_object_on_mariadb(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.execute(text("SET @frozen = 1"))
        session.get_one(Paper, 1).file = FileObject(content=b"new")
        session.commit()
        session.execute(text("SET @frozen = 1"))
        session.execute(update(Paper).where(Paper.id == 1).values(file=None))
        session.commit()
    assert content(engine) == b"old 1"
    assert len(list(docs.list())) == 2


@on_mariadb
@pytest.mark.parametrize("how", ["flush", "statement"])
def test_put_back_document_of_another_session_on_mariadb(engine: Engine, docs: MemoryBackend, how: str) -> None:
    with Session(engine) as session:
        session.scalars(select(Paper)).all()  # REPEATABLE READ sees rows as they are now from here on
        with Session(engine) as other:
            other.get_one(Paper, 1).file = FileObject(content=b"theirs")
            other.commit()
        session.execute(text("SET @frozen = 1"))
        if how == "flush":
            session.get_one(Paper, 1).file = FileObject(content=b"mine")
        else:
            session.execute(
                update(Paper).where(Paper.id == 1).values(file=None), execution_options={"synchronize_session": False}
            )
        session.commit()
    assert content(engine) == b"theirs"
    assert len(list(docs.list())) == 2
