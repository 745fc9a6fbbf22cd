"""SQLAlchemy-Continuum as it is, and a history of former states: what each version costs, and how to copy nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy_continuum
from sqlalchemy import Engine, ForeignKey, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column, relationship
from sqlalchemy.orm.attributes import get_history

from filerow import FileObject, FileObjectList, StoredObject, storages
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


class Plain(DeclarativeBase):
    pass


class Memo(Plain):
    __tablename__ = "memo"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(active_history=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"), active_history=True)
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True), active_history=True)


class FormerMemo(Plain):
    __tablename__ = "memo_history"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


def keep_former(session: Session, *, only_changed: bool) -> None:
    """Write the former state of changed and deleted memos, as SQLAlchemy's example does."""
    for memo in [*session.dirty, *session.deleted]:
        if isinstance(memo, Memo):
            former = FormerMemo()
            for name in ("title", "file", "pages"):
                history = get_history(memo, name)
                if name == "title" or not only_changed or memo in session.deleted or history.has_changes():
                    setattr(former, name, (history.deleted or history.unchanged or [None])[0])
            session.add(former)


@pytest.fixture(params=[False, True], ids=["all files", "only changed files"])
def memos(request: pytest.FixtureRequest) -> Iterator[tuple[Session, MemoryBackend, bool]]:
    backend = MemoryBackend("docs")
    storages.clear_backends()
    storages.register_backend(backend)
    engine = create_engine("sqlite://")
    Plain.metadata.create_all(engine)
    with Session(engine) as session:
        event.listen(session, "before_flush", lambda session, *_: keep_former(session, only_changed=request.param))
        yield session, backend, request.param
    engine.dispose()
    storages.clear_backends()


@pytest.mark.one_in(1)
def test_former_versions_copy_files_that_stay_only(memos: tuple[Session, MemoryBackend, bool]) -> None:
    session, backend, only_changed = memos
    memo = Memo(title="a", file=FileObject(content=b"one"))
    session.add(memo)
    session.commit()
    memo.title = "b"
    session.commit()
    copies = 0 if only_changed else 1
    assert len(list(backend.list())) == 1 + copies
    assert memo.file is not None
    first = memo.file.path
    memo.file = FileObject(content=b"two")
    session.commit()
    assert len(list(backend.list())) == 2 + copies
    session.delete(memo)
    session.commit()
    assert len(list(backend.list())) == 2 + copies, "the row's object goes to its version"
    one, two, three = session.query(FormerMemo).order_by(FormerMemo.id)
    assert [row.title for row in (one, two, three)] == ["a", "b", "b"]
    assert (one.file is None) is only_changed
    assert two.file is not None
    assert three.file is not None
    assert (two.file.path, two.file.get_content(), three.file.get_content()) == (first, b"one", b"two")


@pytest.mark.one_in(1)
def test_former_versions_of_lists_need_an_assignment(memos: tuple[Session, MemoryBackend, bool]) -> None:
    session, backend, _ = memos
    memo = Memo(title="a", pages=[FileObject(content=b"1"), FileObject(content=b"2")])
    session.add(memo)
    session.commit()
    memo.pages = [memo.pages[0]]
    session.commit()
    memo.pages.pop()
    session.commit()
    assigned, popped = session.query(FormerMemo).order_by(FormerMemo.id)
    assert [page.get_content() for page in assigned.pages] == [b"1", b"2"]
    assert popped.pages == []
    assert {info.path for info in backend.list()} == {page.path for page in assigned.pages}
