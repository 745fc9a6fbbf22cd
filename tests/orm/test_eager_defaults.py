"""Classes whose rows are read again in the middle of a flush, for what the database has put into them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import create_engine, func
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from tests.cases.stores import Store


class Base(DeclarativeBase):
    pass


class Stamped(Base):
    __tablename__ = "stamped"
    __table_args__ = {"implicit_returning": False}  # as on MySQL
    __mapper_args__ = {"eager_defaults": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    created: Mapped[int] = mapped_column(server_default="1")
    changed: Mapped[int | None] = mapped_column(onupdate=func.abs(-2))
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Counted(Base):
    __tablename__ = "counted"
    __table_args__ = {"implicit_returning": False}
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(server_default="1")
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    __mapper_args__ = {"version_id_col": version, "version_id_generator": False}


@pytest.fixture
def session(store: Store) -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as made:
        yield made
    engine.dispose()


@pytest.mark.parametrize("mapped", [Stamped, Counted])
def test_new_rows_keep_their_files(session: Session, store: Store, mapped: Any) -> None:
    session.add_all([mapped(file=FileObject(content=b"%d" % number)) for number in (1, 2)])
    session.commit()
    assert [row.file.get_content() for row in session.query(mapped) if row.file] == [b"1", b"2"]
    assert len(store.objects()) == 2


def test_changed_rows_keep_their_files(session: Session, store: Store) -> None:
    row = Stamped(file=FileObject(content=b"old"))
    session.add(row)
    session.commit()
    row.file = FileObject(content=b"new")
    session.commit()
    assert row.file.get_content() == b"new"
    assert len(store.objects()) == 1


def test_new_rows_that_are_rolled_back_leave_nothing(session: Session, store: Store) -> None:
    session.add(Stamped(file=FileObject(content=b"one")))
    session.flush()
    session.rollback()
    assert not store.objects()
