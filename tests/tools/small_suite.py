"""A suite of three tests, which the tool is run on; copied as ``test_small.py``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine, event, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield Session(engine)
    Base.metadata.drop_all(engine)
    engine.dispose()


def test_unit_of_work(session: Session) -> None:
    session.add_all([Author(name="a"), Author(name="b"), Author(name="c")])
    session.commit()
    first, second, third = session.query(Author).order_by(Author.id)
    first.name = second.name = "d"
    session.delete(third)
    session.commit()
    assert session.query(Author).count() == 2


def test_sql_past_the_orm(session: Session) -> None:
    session.add(Author(name="a"))
    session.commit()
    session.execute(text("DELETE FROM author"))
    session.commit()


def test_statements(session: Session) -> None:
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2]))
    author = Author(name="a")
    session.add(author)
    session.commit()
    author.name = "b"
    session.commit()
    assert [statement.split()[0] for statement in statements] == ["INSERT", "SELECT", "UPDATE"]
    assert "_zz_author" not in statements[0]
