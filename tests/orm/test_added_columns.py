"""File columns that come to a class after it was mapped, or after it was used: ``Model.file = mapped_column(...)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, delete
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column, relationship

from filerow import FileObject, StoredObject
from filerow.backends.memory import MemoryBackend

WHEN: list[Callable[[], None]] = [lambda: None, configure_mappers]


@pytest.fixture(params=WHEN, ids=["mapped", "used"])
def classes(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A class and its child, which have got a file and a list of files."""

    class Base(DeclarativeBase):
        pass

    class Paper(Base):
        __tablename__ = "paper"
        id: Mapped[int] = mapped_column(primary_key=True)
        kind: Mapped[str]
        __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "paper"}

    class Report(Paper):
        __mapper_args__ = {"polymorphic_identity": "report"}

    request.param()
    paper: Any = Paper
    paper.file = mapped_column(StoredObject("docs"))
    paper.pages = mapped_column(StoredObject("docs", multiple=True))
    return paper, Report


@pytest.fixture
def session(classes: tuple[Any, Any]) -> Any:
    engine = create_engine("sqlite://")
    classes[0].metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


def named(rows: list[Any]) -> list[str]:
    return sorted(file.path for row in rows for file in (row.file, *row.pages) if file is not None)


def stored(docs: MemoryBackend) -> list[str]:
    return sorted(one.path for one in docs.list())


@pytest.mark.parametrize("which", [0, 1], ids=["class", "child"])
def test_files_of_an_added_column_follow_their_rows(
    classes: tuple[Any, Any], session: Session, docs: MemoryBackend, which: int
) -> None:
    model = classes[which]
    first = model(file=FileObject(content=b"1"), pages=[FileObject(content=b"2")])
    session.add(first)
    session.commit()
    second = model(file=first.file, pages=[*first.pages, first.file])
    session.add(second)
    session.commit()
    assert named([first, second]) == stored(docs)
    assert len(stored(docs)) == 5
    first.file = None
    first.pages.append(FileObject(content=b"3"))
    session.flush()
    session.rollback()
    assert named([first, second]) == stored(docs)
    first.file = FileObject(content=b"4")
    first.pages.pop()
    session.delete(second)
    session.commit()
    assert named([first]) == stored(docs)
    session.execute(delete(classes[0]))
    session.commit()
    assert not stored(docs)


def test_rows_of_an_added_link_table_take_their_files(docs: MemoryBackend) -> None:
    class Base(DeclarativeBase):
        pass

    class Topic(Base):
        __tablename__ = "topic"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Member(Base):
        __tablename__ = "member"
        id: Mapped[int] = mapped_column(primary_key=True)

    class Badge(Base):
        __tablename__ = "badge"
        topic_id: Mapped[int] = mapped_column(ForeignKey("topic.id"), primary_key=True)
        member_id: Mapped[int] = mapped_column(ForeignKey("member.id"), primary_key=True)
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

    configure_mappers()
    added: Any = Topic
    added.members = relationship(Member, secondary="badge")
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([Topic(id=1), Member(id=1)])
        session.flush()
        session.add(Badge(topic_id=1, member_id=1, file=FileObject(content=b"badge")))
        session.commit()
        topic = session.get_one(added, 1)
        topic.members.clear()
        session.commit()
    engine.dispose()
    assert not stored(docs)


def test_wrong_values_of_an_added_column_are_refused(classes: tuple[Any, Any]) -> None:
    for model in classes:
        with pytest.raises(TypeError):
            model(file="cat.png")


def test_added_column_is_checked_as_others_are(classes: tuple[Any, Any]) -> None:
    shared = mapped_column(StoredObject("docs"), default=FileObject(content=b"one"))
    with pytest.raises(TypeError, match="default="):
        classes[0].other = shared
        configure_mappers()
    classes[0].registry.dispose()
