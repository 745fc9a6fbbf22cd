"""What Filerow uses of SQLAlchemy though it is private: on the version that takes it away, one of these fails and says which."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import JSON, Connection, ForeignKey, Result, Text, create_engine, delete, event, insert, inspect, select, text
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    SessionTransaction,
    composite,
    make_transient_to_detached,
    mapped_column,
    with_loader_criteria,
)

from filerow._orm.sqlalchemy_private import (
    autoflush,
    commits_each_statement,
    equivalent_columns,
    is_flushing,
    is_of_flush,
    is_rolled_back_on_return,
    is_sent_as_is,
    listen_last,
    multi_values_of,
    options_of,
    persistent_sort_key,
    resolve_names,
    savepoint_names,
    sorted_tables,
    took_from_engine,
    variants_of,
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


class Whole(NamedTuple):
    left: str
    right: int

    def __composite_values__(self) -> tuple[str, int]:
        return self.left, self.right


class Pair(Base):
    __tablename__ = "private_names_pair"
    id: Mapped[int] = mapped_column(primary_key=True)
    left: Mapped[str]
    right: Mapped[int]
    whole: Mapped[Whole] = composite("left", "right")


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


def test_options_of_a_statement_are_known() -> None:
    option = with_loader_criteria(Note, Note.id == 1)
    assert list(options_of(delete(Note).options(option))) == [option]
    assert not options_of(text("SELECT 1"))


def test_variants_of_a_type_are_known() -> None:
    assert list(variants_of(JSON())) == []
    assert [type(one) for one in variants_of(JSON().with_variant(Text(), "oracle"))] == [Text]


def test_names_of_a_bulk_statement_s_rows_are_resolved() -> None:
    rows: list[dict[str, Any]] = [{"id": 1, "whole": Whole("one", 2)}]
    resolve_names(inspect(Pair), rows)
    assert rows == [{"id": 1, "left": "one", "right": 2}]


@pytest.mark.parametrize("flushes", [True, False])
def test_session_autoflushes_as_configured(session: Session, *, flushes: bool) -> None:
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


def test_a_connection_that_a_session_was_given_is_known(session: Session) -> None:
    taken: list[bool] = []

    def began(session: Session, transaction: SessionTransaction, connection: Connection) -> None:
        taken.append(took_from_engine(transaction, connection))

    event.listen(session, "after_begin", began)
    with Session(session.connection()) as inner:
        event.listen(inner, "after_begin", began)
        inner.connection()
    assert taken == [True, False]


@pytest.mark.parametrize("reset", ["rollback", "commit", None])
def test_pool_says_what_becomes_of_returned_connections(reset: Any) -> None:
    engine = create_engine("sqlite://", pool_reset_on_return=reset)
    with engine.connect() as connection:
        assert is_rolled_back_on_return(connection) is (reset == "rollback")
    engine.dispose()


def test_savepoints_are_known_by_their_names(session: Session) -> None:
    connection = session.connection()
    released: list[str] = []
    event.listen(connection, "release_savepoint", lambda _, name, context: released.append(name))
    assert savepoint_names(connection) == []
    with connection.begin_nested(), connection.begin_nested():
        names = savepoint_names(connection)
    assert released == names[::-1]


def test_a_listener_is_called_after_all_others(session: Session) -> None:
    called: list[str] = []

    @event.listens_for(session, "do_orm_execute")
    def first(state: ORMExecuteState) -> Result[Any]:
        called.append("first")
        listen_last(state, lambda state: called.append("last"))
        return state.invoke_statement()

    event.listen(session, "do_orm_execute", lambda state: called.append("second"))
    session.execute(select(Note))
    assert called == ["first", "second", "last"]


def test_a_connection_says_whether_it_has_transactions() -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        assert not commits_each_statement(connection)
        assert not connection._is_autocommit_isolation()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert commits_each_statement(connection)
        assert connection._is_autocommit_isolation()
    engine.dispose()


def test_a_session_says_whether_it_flushes() -> None:
    seen: list[bool] = []
    session = Session()
    event.listen(session, "before_flush", lambda *_: seen.append(is_flushing(session)))
    session.add(Note(text="new"))
    with pytest.raises(UnboundExecutionError):
        session.flush()
    assert (seen, is_flushing(session)) == ([True], False)


def test_statements_of_a_flush_are_recognized(session: Session) -> None:
    seen: list[tuple[str, bool, bool]] = []

    def sent(connection: object, cursor: object, statement: str, parameters: object, context: Any, many: bool) -> None:
        seen.append((statement.partition(" ")[0], is_of_flush(context), is_sent_as_is(context, statement)))

    event.listen(session.get_bind(), "after_cursor_execute", sent)
    session.add(note := Note(text="one"))
    session.flush()
    note.text = "two"
    session.flush()
    session.execute(text("UPDATE private_names_note SET text = 'three'"))
    session.delete(note)
    session.flush()
    writing = [one for one in seen if one[0] != "SELECT"]
    assert writing == [("INSERT", True, False), ("UPDATE", True, False), ("UPDATE", False, False), ("DELETE", True, True)]


def test_a_delete_that_a_driver_may_never_see_is_not_sent_as_is(session: Session) -> None:
    seen: list[bool] = []
    engine = session.get_bind()
    event.listen(engine, "do_execute", lambda cursor, statement, parameters, context: None)

    def sent(connection: object, cursor: object, statement: str, parameters: object, context: Any, many: bool) -> None:
        seen.append(is_sent_as_is(context, statement))

    event.listen(engine, "after_cursor_execute", sent)
    session.execute(delete(Note))
    assert seen == [False]
