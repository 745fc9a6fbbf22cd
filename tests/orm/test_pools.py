"""Pools that do not roll back what returns: only there may rows of a collected session stay."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.backends.memory import MemoryBackend


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture(params=["commit", None], ids=["commit", "nothing"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'rows.db'}", pool_reset_on_return=request.param)

    @event.listens_for(made, "begin")
    def begin(connection: Connection) -> None:
        if not connection.connection.driver_connection.in_transaction:  # type: ignore[union-attr]
            connection.exec_driver_sql("BEGIN")

    Base.metadata.create_all(made)
    yield made
    made.dispose()


def left_by_a_session(engine: Engine) -> None:
    session = Session(engine)
    session.add(Paper(file=FileObject(content=b"left")))
    session.flush()


def left_in_an_outer_transaction(engine: Engine) -> None:
    connection = engine.connect()
    connection.begin()
    session = Session(connection, join_transaction_mode="create_savepoint")
    session.add(Paper(file=FileObject(content=b"left")))
    session.commit()


@pytest.mark.parametrize("leave", [left_by_a_session, left_in_an_outer_transaction])
def test_rows_of_a_collected_session_keep_their_files(
    engine: Engine, docs: MemoryBackend, leave: Callable[[Engine], None], caplog: pytest.LogCaptureFixture
) -> None:
    leave(engine)
    gc.collect()
    with Session(engine) as session:
        session.add(Paper(file=FileObject(content=b"next")))
        session.commit()
        files = session.scalars(select(Paper.file)).all()
    assert {file.path for file in files if file is not None} <= {one.path for one in docs.list()}
    assert "pool_reset_on_return" in caplog.text


def test_session_that_is_closed_leaves_nothing(engine: Engine, docs: MemoryBackend) -> None:
    with Session(engine) as session:
        session.add(Paper(file=FileObject(content=b"left")))
        session.flush()
    assert not list(docs.list())
