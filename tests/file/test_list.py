"""A list whose row has been dropped from memory says so; nothing that was appended is forgotten."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject
from filerow.exceptions import FileStateError

pytestmark = pytest.mark.usefixtures("frozen_heap")


class Base(DeclarativeBase):
    pass


class Album(Base):
    __tablename__ = "album"
    id: Mapped[int] = mapped_column(primary_key=True)
    pictures: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


@pytest.fixture
def session() -> Iterator[Session]:
    """A session on a database with one album of two pictures, none of it in memory."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Album(id=1, pictures=[picture(), picture()]))
        session.commit()
    gc.collect()
    with Session(engine) as session:
        yield session
    engine.dispose()


def picture() -> FileObject:
    return FileObject(filename="cat.png", content=b"a picture")


EDITS: dict[str, Callable[[FileObjectList], object]] = {
    "append": lambda pictures: pictures.append(picture()),
    "extend": lambda pictures: pictures.extend([picture()]),
    "insert": lambda pictures: pictures.insert(0, picture()),
    "replace": lambda pictures: pictures.__setitem__(0, picture()),
    "remove": lambda pictures: pictures.remove(pictures[0]),
    "pop": lambda pictures: pictures.pop(),
    "delete": lambda pictures: pictures.__delitem__(0),
    "clear": lambda pictures: pictures.clear(),
    "reverse": lambda pictures: pictures.reverse(),
    "sort": lambda pictures: pictures.sort(key=id),
    "+=": lambda pictures: pictures.__iadd__([picture()]),
    "*=": lambda pictures: pictures.__imul__(2),
}
each_edit = pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)


def pictures_only(session: Session) -> FileObjectList:
    pictures = session.get_one(Album, 1).pictures
    gc.collect()  # CPython has freed the album already
    return pictures


@each_edit
def test_a_change_that_no_row_would_store_is_an_error(session: Session, edit: Callable[[FileObjectList], object]) -> None:
    with pytest.raises(FileStateError, match="Keep the row in a variable"):
        edit(pictures_only(session))


@each_edit
def test_list_released_by_its_row_can_be_changed(session: Session, edit: Callable[[FileObjectList], object]) -> None:
    album = session.get_one(Album, 1)
    before = album.pictures
    album.pictures = FileObjectList()
    edit(before)
    edit(FileObjectList([picture(), picture()]))


def test_a_list_whose_row_is_gone_can_still_be_read_and_assigned(session: Session) -> None:
    pictures = pictures_only(session)
    assert [file.filename for file in pictures] == ["cat.png", "cat.png"]
    album = session.get_one(Album, 1)
    album.pictures = pictures
    pictures.append(picture())
    session.commit()
    assert len(album.pictures) == 3
