"""A new object with the key of one that is in the session, and that the flush changes and does not delete."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from tests.cases.stores import Store


class Base(DeclarativeBase):
    pass


class Page(Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.mark.filterwarnings("ignore:New instance")
def test_the_database_refuses_it(store: Store) -> None:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        row = Page(id=1, file=FileObject(content=b"old"))
        session.add(row)
        session.commit()
        row.file = FileObject(content=b"new")
        session.add(Page(id=1, file=FileObject(content=b"other")))
        with pytest.raises(IntegrityError):
            session.commit()
        session.rollback()
        assert row.file is not None
        assert row.file.get_content() == b"old"
    engine.dispose()
    assert len(store.objects()) == 1
