"""Two-phase sessions: PREPARE TRANSACTION decides nothing yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import Engine, TwoPhaseTransaction
from sqlalchemy.orm import Session

from filerow import FileObject
from tests.cases.databases import PostgreSQL
from tests.cases.models import Document
from tests.cases.stores import Store
from tests.cases.world import World


@pytest.fixture
def engine(postgresql: PostgreSQL, store: Store) -> Iterator[Engine]:
    postgresql.empty()
    made = postgresql.engine()
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    with Session(engine) as first:
        first.add(Document(title="old", file=FileObject(filename="cat.png", content=b"old")))
        first.commit()
    with Session(engine, twophase=True) as made:
        yield made


def change(session: Session) -> None:
    session.query(Document).one().file = FileObject(filename="cat.png", content=b"new")
    session.add(Document(file=FileObject(filename="cat.png", content=b"added")))


def check(postgresql: PostgreSQL, store: Store) -> None:
    World(postgresql, store, None, None).check()  # type: ignore[arg-type]


def test_prepared_then_committed(session: Session, postgresql: PostgreSQL, store: Store) -> None:
    change(session)
    before = store.objects()
    session.prepare()
    assert before < store.objects(), "prepared is not committed: nothing may be deleted yet"
    session.commit()
    check(postgresql, store)
    assert len(store.objects()) == 2


def test_prepared_then_rolled_back(session: Session, postgresql: PostgreSQL, store: Store) -> None:
    change(session)
    before = store.objects()
    session.prepare()
    session.rollback()
    check(postgresql, store)
    assert store.objects() == before


def test_prepared_then_closed(session: Session, postgresql: PostgreSQL, store: Store) -> None:
    change(session)
    before = store.objects()
    session.prepare()
    session.close()
    check(postgresql, store)
    assert store.objects() == before


def test_committed_in_one_call(session: Session, postgresql: PostgreSQL, store: Store) -> None:
    change(session)
    session.commit()
    check(postgresql, store)
    assert len(store.objects()) == 2


def prepare_and_commit(outer: TwoPhaseTransaction) -> None:
    outer.prepare()
    outer.commit()


def prepare_and_roll_back(outer: TwoPhaseTransaction) -> None:
    outer.prepare()
    outer.rollback()


OUTCOMES: dict[str, tuple[Callable[[TwoPhaseTransaction], None], int]] = {
    "committed": (lambda outer: outer.commit(), 2),
    "prepared, then committed": (prepare_and_commit, 2),
    "rolled back": (lambda outer: outer.rollback(), 1),
    "prepared, then rolled back": (prepare_and_roll_back, 1),
}


@pytest.mark.parametrize(("end", "left"), OUTCOMES.values(), ids=OUTCOMES)
def test_an_outer_two_phase_transaction_decides(
    session: Session,
    engine: Engine,
    postgresql: PostgreSQL,
    store: Store,
    end: Callable[[TwoPhaseTransaction], None],
    left: int,
) -> None:
    session.close()
    with engine.connect() as connection:
        outer = connection.begin_twophase()
        with Session(connection) as inner:
            change(inner)
            inner.commit()
        end(outer)
    check(postgresql, store)
    assert len(store.objects()) == left


def test_a_prepared_outer_transaction_that_is_left_keeps_all(session: Session, engine: Engine, store: Store) -> None:
    before = store.objects()
    session.close()
    connection = engine.connect()
    outer = connection.begin_twophase()
    with Session(connection) as inner:
        change(inner)
        inner.commit()
    outer.prepare()
    stored = store.objects()
    connection.invalidate()
    connection.close()
    with Session(engine) as another:
        another.connection()
    assert before < stored == store.objects(), "somebody may commit it yet"
    with engine.connect() as connection:
        connection.rollback_prepared(outer.xid, recover=True)
