"""An application that rewrites statements on their way to the driver, as SQLAlchemy's own tests of shards do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, event, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.backends.memory import MemoryBackend


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    __table_args__ = {"schema": "changeme"}
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")

    @event.listens_for(made, "before_cursor_execute", retval=True)
    def rename(conn: object, cursor: object, statement: str, parameters: Any, *_: object) -> tuple[str, Any]:
        return re.sub(r'"?changeme"?\.', "shard1_", statement), parameters

    Base.metadata.create_all(made)
    yield made
    made.dispose()


def test_rows_of_renamed_tables_get_and_lose_their_files(docs: MemoryBackend, engine: Engine) -> None:
    with Session(engine) as session:
        papers = [Paper(file=FileObject(content=b"%d" % n)) for n in range(4)]
        session.add_all(papers)
        session.commit()
        papers[0].file = FileObject(content=b"new")
        session.delete(papers[1])
        session.commit()
        assert len(list(docs.list())) == 3
        session.execute(update(Paper).where(Paper.id == papers[2].id).values(file=None))
        session.execute(delete(Paper).where(Paper.id == papers[3].id))
        session.commit()
        kept = papers[0].file
        assert kept is not None
        assert [info.path for info in docs.list()] == [kept.path]
        assert kept.get_content() == b"new"
