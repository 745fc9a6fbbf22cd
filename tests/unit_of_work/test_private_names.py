"""What Filerow uses of SQLAlchemy though it is private: on the version that takes it away, one of these fails and says which."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import ForeignKey, create_engine, event, insert, inspect
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, make_transient_to_detached, mapped_column

from filerow._orm.sqlalchemy_private import (
    autoflush,
    equivalent_columns,
    multi_values_of,
    persistent_sort_key,
    sorted_tables,
    with_values,
)


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "private_names_note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Memo(Note):
    __tablename__ = "private_names_a_memo"
    number: Mapped[int] = mapped_column(ForeignKey("private_names_note.id"), primary_key=True)


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def test_the_rows_of_a_multi_row_insert_can_be_read() -> None:
    rows = [{"text": "one"}, {"text": "two"}]
    found = [dict(row) for group in multi_values_of(insert(Note).values(rows)) for row in group]
    assert [next(iter(row.values())) for row in found] == ["one", "two"]
    assert not list(multi_values_of(insert(Note)))


def test_the_rows_of_a_multi_row_insert_can_be_replaced(session: Session) -> None:
    statement = insert(Note).values([{"text": "one"}, {"text": "two"}])
    session.execute(with_values(statement, [{"text": "three"}]))
    assert session.query(Note.text).all() == [("three",)]


@pytest.mark.parametrize("flushes", [True, False])
def test_a_session_autoflushes_as_it_was_told(session: Session, *, flushes: bool) -> None:
    flushed: list[object] = []
    event.listen(session, "after_flush", lambda session, _: flushed.append(session))
    session.autoflush = flushes
    session.add(Note(text="new"))
    autoflush(session)
    assert bool(flushed) is flushes


def test_a_flush_s_order_of_rows_is_known() -> None:
    notes = [Note(id=number) for number in (10, 9)]
    for note in notes:
        make_transient_to_detached(note)
    states = [inspect(note) for note in notes]
    assert sorted(states, key=persistent_sort_key(inspect(Note))) == states[::-1]


def test_a_flush_s_order_of_tables_is_known() -> None:
    assert list(sorted_tables(inspect(Note))) == [Note.__table__, Memo.__table__]


def test_the_keys_of_joined_tables_are_known_to_be_equal() -> None:
    note, memo = Note.__table__.c.id, Memo.__table__.c.number
    assert set(equivalent_columns(inspect(Memo))[note]) == {memo}
