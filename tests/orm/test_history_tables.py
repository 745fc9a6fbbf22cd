"""SQLAlchemy-Continuum as it is: what each version costs, and a history that copies nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy_continuum
from sqlalchemy import Engine, ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column, relationship

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend


@pytest.fixture(scope="module")
def models() -> Iterator[tuple[Any, Any, Any, Any]]:
    sqlalchemy_continuum.make_versioned(user_cls=None)

    class Base(DeclarativeBase):
        pass

    class Document(Base):
        __tablename__ = "document"
        __versioned__: dict[str, Any] = {}
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))

    class Attachment(Base):
        __tablename__ = "attachment"
        id: Mapped[int] = mapped_column(primary_key=True)
        file: Mapped[FileObject] = mapped_column(StoredObject("docs"))

    class Letter(Base):
        __tablename__ = "letter"
        __versioned__: dict[str, Any] = {}
        id: Mapped[int] = mapped_column(primary_key=True)
        title: Mapped[str]
        attachment_id: Mapped[int | None] = mapped_column(ForeignKey("attachment.id"))

    Letter.attachment = relationship(Attachment)
    configure_mappers()
    yield Base, Document, Letter, Attachment
    sqlalchemy_continuum.remove_versioning()


@pytest.fixture
def history(models: tuple[Any, Any, Any, Any]) -> Iterator[tuple[Any, Any, Any, Engine, MemoryBackend]]:
    base, *others = models
    storages.clear_backends()
    backend = MemoryBackend("docs")
    storages.register_backend(backend)
    engine = create_engine("sqlite://")
    base.metadata.create_all(engine)
    yield others[0], others[1], others[2], engine, backend
    engine.dispose()
    storages.clear_backends()


def test_each_version_owns_a_copy_of_the_file(history: tuple[Any, Any, Any, Engine, MemoryBackend]) -> None:
    document_class, _, _, engine, backend = history
    with Session(engine) as session:
        document = document_class(id=1, title="a", file=FileObject(content=b"one"))
        session.add(document)
        session.commit()
        assert len(list(backend.list())) == 2
        document.title = "b"
        session.commit()
        assert len(list(backend.list())) == 3, "a change of the title copies, too"
        document.file = FileObject(content=b"two")
        session.commit()
        assert [(one.title, one.file.get_content()) for one in document.versions] == [("a", b"one"), ("b", b"one"), ("b", b"two")]
        document.versions[0].revert()
        session.commit()
        assert document.file.get_content() == b"one"
        session.rollback()
        session.delete(document)
        session.commit()
    with Session(engine) as session:
        versions = session.query(sqlalchemy_continuum.version_class(document_class)).all()
        assert {one.file.get_content() for one in versions} == {b"one", b"two"}
        assert len({one.file.path for one in versions}) == len(list(backend.list()))


def test_history_of_attachments_copies_nothing(history: tuple[Any, Any, Any, Engine, MemoryBackend]) -> None:
    _, letter_class, attachment_class, engine, backend = history
    with Session(engine) as session:
        letter = letter_class(id=1, title="a", attachment=attachment_class(file=FileObject(content=b"one")))
        session.add(letter)
        session.commit()
        letter.title = "b"
        session.commit()
        assert len(list(backend.list())) == 1
        letter.attachment = attachment_class(file=FileObject(content=b"two"))
        session.commit()
        assert len(list(backend.list())) == 2
        found = [session.get_one(attachment_class, one.attachment_id).file.get_content() for one in letter.versions]
        assert found == [b"one", b"one", b"two"]
        letter.versions[0].revert()
        session.commit()
        assert letter.attachment.file.get_content() == b"one"
        assert len(list(backend.list())) == 2
