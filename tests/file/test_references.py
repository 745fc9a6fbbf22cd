"""References: a stored file as text that another process opens, and rows that get copies of it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, insert
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, FileState, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import (
    BackendNotFoundError,
    DocumentError,
    ExpiredTokenError,
    FileStateError,
    FileTooLargeError,
    InvalidTokenError,
    ObjectNotFoundError,
    SecretError,
)
from tests.file.conftest import WatchedBackend

SECRET = "Xv6wHcJq2-4mLrYf9sKd_0TzBnUe8aGi"
NEXT = "p3QyW7hT-kZ1uMvR5xLc_9EoSjFa2bDn"


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", public_metadata=["page"]))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))
    small: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size=2))


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret of the application and its workers."""
    monkeypatch.setenv("FILEROW_SECRET", SECRET)


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = create_engine("sqlite://")
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def saved(**facts: Any) -> FileObject:
    return FileObject("docs", "ünï.txt", content=b"abc", **facts).save()


def row_of(engine: Engine, **columns: Any) -> Note:
    """Commit a row and return it, to be looked at without its session."""
    with Session(engine, expire_on_commit=False) as session:
        note = Note(**columns)
        session.add(note)
        session.commit()
        return note


def delete(engine: Engine, note: Note) -> None:
    with Session(engine) as session:
        session.delete(session.get_one(Note, note.id))
        session.commit()


# -- what is in it -----------------------------------------------------------------------------------------------------------


def test_reference_opens_to_the_same_stored_file() -> None:
    file = saved(metadata={"page": 3, "of": [1, None]})
    text = file.to_reference()
    assert text.isascii()
    assert not set(text) & set(" \n/?&#")
    found = FileObject.from_reference(text)
    assert found == file
    assert found.to_dict() == file.to_dict()
    assert found.state is FileState.ATTACHED
    assert found.get_content() == b"abc"
    assert found.open().read() == b"abc"
    found.verify()


OTHER = """
import sys
from filerow import FileObject, storages
storages.register_backend(sys.argv[1], key="files")
file = FileObject.from_reference(sys.argv[2], audience="worker")
print(file.filename, file.get_content().decode())
"""


def test_reference_is_opened_by_another_process(tmp_path: Path) -> None:
    storages.register_backend(url := tmp_path.as_uri(), key="files")
    text = FileObject("files", "a.txt", content=b"abc").save().to_reference(audience="worker")
    command = [sys.executable, "-c", OTHER, url, text]
    environment = {**os.environ, "FILEROW_SECRET": f"{NEXT},{SECRET}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert (done.stdout, done.stderr) == ("a.txt abc\n", "")
    environment["FILEROW_SECRET"] = NEXT
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert "InvalidTokenError: this is not a reference of this application" in done.stderr
    assert NEXT not in done.stderr


async def test_reference_is_read_asynchronously() -> None:
    found = FileObject.from_reference(saved().to_reference())
    assert await found.get_content_async() == b"abc"


def test_reference_of_a_row_shows_what_its_column_shows(engine: Engine) -> None:
    note = row_of(engine, file=FileObject(content=b"abc", metadata={"page": 3, "scan": "private"}))
    assert note.file
    found = FileObject.from_reference(note.file.to_reference())
    assert found.public_view() == note.file.public_view()
    assert found.public_view()["metadata"] == {"page": 3}
    assert found.metadata["scan"] == "private"


def test_empty_file_without_facts_survives(docs: WatchedBackend) -> None:
    empty = FileObject("docs", content=b"").save()
    found = FileObject.from_reference(empty.to_reference())
    assert (found.size, found.get_content()) == (0, b"")
    docs.put("a/known.txt", b"abc")
    bare = FileObject(to_filename="a/known.txt")  # in the default backend, which another process may not share
    assert FileObject.from_reference(bare.to_reference()).backend_key == "docs"


def test_a_subclass_opens_to_its_own_kind() -> None:
    class Scan(FileObject):
        pass

    assert type(Scan.from_reference(saved().to_reference())) is Scan


def test_a_document_of_another_library_has_a_reference(docs: WatchedBackend) -> None:
    docs.put("cat.txt", b"abc")
    theirs = FileObject.from_dict({"backend": "docs", "filename": "cat.txt"})
    assert FileObject.from_reference(theirs.to_reference()).get_content() == b"abc"


@pytest.mark.parametrize(
    "make", [lambda: FileObject("docs", content=b"abc"), lambda: FileObject("docs")], ids=["pending", "empty"]
)
def test_a_pending_file_must_be_stored_first(make: Any) -> None:
    with pytest.raises(FileStateError, match="no reference until it is stored; commit its row, or call save"):
        make().to_reference()


def test_a_deleted_file_has_no_reference() -> None:
    file = saved()
    file.delete()
    with pytest.raises(FileStateError, match="no reference until it is stored"):
        file.to_reference()


def test_metadata_too_large_for_a_token_is_refused() -> None:
    file = saved(metadata={"text": "x" * 40_000})
    with pytest.raises(DocumentError, match=r"metadata of 'ünï\.txt' is too large for a reference"):
        file.to_reference()


# -- what is refused ---------------------------------------------------------------------------------------------------------


def test_a_reference_ends_after_a_day_or_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved()
    day, minute = file.to_reference(), file.to_reference(expires_in=60)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 59)
    assert FileObject.from_reference(minute) == file
    monkeypatch.setattr(time, "time", lambda: now + 61)
    with pytest.raises(ExpiredTokenError, match="this reference has expired; make a new one"):
        FileObject.from_reference(minute)
    monkeypatch.setattr(time, "time", lambda: now + 86_300)
    assert FileObject.from_reference(day) == file
    monkeypatch.setattr(time, "time", lambda: now + 86_401)
    with pytest.raises(ExpiredTokenError):
        FileObject.from_reference(day)


@pytest.mark.parametrize("wrong", [0, -1, float("inf"), float("nan"), 10**400, 1e300])
def test_expiry_must_be_positive_and_bounded(wrong: float) -> None:
    with pytest.raises(ValueError, match="expires_in"):
        saved().to_reference(expires_in=wrong)


def test_expiry_must_be_a_number() -> None:
    with pytest.raises(TypeError, match="expires_in is a number of seconds, not NoneType"):
        saved().to_reference(expires_in=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("made_for", "opened_for"), [("", "thumbs"), ("thumbs", ""), ("thumbs", "mail"), ("thumbs", "Thumbs")])
def test_a_reference_for_another_audience_is_refused(made_for: str, opened_for: str) -> None:
    text = saved().to_reference(audience=made_for)
    with pytest.raises(InvalidTokenError, match="for another audience=") as caught:
        FileObject.from_reference(text, audience=opened_for)
    assert caught.value.code == "reference-misplaced"
    assert FileObject.from_reference(text, audience=made_for).get_content() == b"abc"


def test_an_audience_is_a_text() -> None:
    text = saved().to_reference()
    for call in (saved().to_reference, lambda audience: FileObject.from_reference(text, audience=audience)):
        with pytest.raises(TypeError, match="audience must be a string"):
            call(audience=None)  # type: ignore[arg-type]


def test_secrets_rotate_as_those_of_urls_and_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved()
    old, given = file.to_reference(), file.to_reference(secret=NEXT)
    with pytest.raises(InvalidTokenError, match="need the same secret"):
        FileObject.from_reference(given)
    assert FileObject.from_reference(given, secret=[SECRET, NEXT]) == file
    monkeypatch.setenv("FILEROW_SECRET", f"{NEXT} {SECRET}")
    assert FileObject.from_reference(old) == file
    assert FileObject.from_reference(file.to_reference(), secret=NEXT) == file
    monkeypatch.setenv("FILEROW_SECRET", NEXT)
    with pytest.raises(InvalidTokenError):
        FileObject.from_reference(old)


def test_without_a_secret_the_error_says_who_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FILEROW_SECRET")
    file = saved()
    for call in (file.to_reference, lambda: FileObject.from_reference("a.b")):
        with pytest.raises(SecretError, match=r"_reference\(\) needs a secret"):
            call()
    assert FileObject.from_reference(file.to_reference(development=True), development=True) == file


def test_an_unknown_backend_is_named_when_it_is_opened() -> None:
    storages.register_backend(MemoryBackend("other"))
    text = FileObject("other", content=b"abc").save().to_reference()
    storages.unregister_backend("other")
    with pytest.raises(BackendNotFoundError, match="no backend is registered as 'other'"):
        FileObject.from_reference(text)


def test_bytes_deleted_meanwhile_are_missed_where_they_are_read(engine: Engine) -> None:
    file = saved()
    text = file.to_reference()
    file.delete()
    found = FileObject.from_reference(text)
    with pytest.raises(ObjectNotFoundError):
        found.get_content()
    with pytest.raises(ObjectNotFoundError, match="no bytes any more"):
        row_of(engine, file=found)


# -- rows --------------------------------------------------------------------------------------------------------------------


def test_a_row_gets_a_copy_and_both_live_on_their_own(engine: Engine, docs: WatchedBackend) -> None:
    first = row_of(engine, file=FileObject(filename="a.txt", content=b"abc", metadata={"page": 3}))
    assert first.file
    text = first.file.to_reference()
    second = row_of(engine, file=FileObject.from_reference(text))
    third = row_of(engine, file=FileObject.from_reference(text).replace(filename="b.txt"))
    assert second.file
    assert third.file
    assert len({first.file.path, second.file.path, third.file.path} & docs.paths) == 3
    assert (second.file.filename, second.file.metadata, third.file.filename) == ("a.txt", {"page": 3}, "b.txt")
    delete(engine, second)
    assert docs.paths == {first.file.path, third.file.path}
    delete(engine, first)
    assert third.file.get_content() == b"abc"
    with pytest.raises(ObjectNotFoundError):
        FileObject.from_reference(text).get_content()


def test_a_saved_file_without_a_row_is_copied_too(engine: Engine, docs: WatchedBackend) -> None:
    file = saved()
    note = row_of(engine, file=FileObject.from_reference(file.to_reference()))
    assert note.file
    assert docs.paths == {file.path, note.file.path}
    delete(engine, note)
    assert docs.paths == {file.path}


def test_a_rollback_deletes_the_copy_only(engine: Engine, docs: WatchedBackend) -> None:
    file = saved()
    with Session(engine) as session:
        session.add(Note(file=FileObject.from_reference(file.to_reference())))
        session.flush()
        assert len(docs.paths) == 2
        session.rollback()
    assert docs.paths == {file.path}


def test_lists_and_bulk_inserts_get_copies(engine: Engine, docs: WatchedBackend) -> None:
    file = saved()
    text = file.to_reference()
    note = row_of(engine, pages=[FileObject.from_reference(text), FileObject.from_reference(text)])
    with Session(engine) as session:
        session.execute(insert(Note), [{"file": FileObject.from_reference(text), "pages": []}])
        session.commit()
    assert len(docs.paths) == 4
    assert len({page.path for page in note.pages} | {file.path}) == 3


def test_the_row_that_has_the_file_keeps_it(engine: Engine, docs: WatchedBackend) -> None:
    note = row_of(engine, file=FileObject(content=b"abc"))
    assert note.file
    with Session(engine) as session:
        loaded = session.get_one(Note, note.id)
        loaded.file = FileObject.from_reference(note.file.to_reference())
        session.commit()
        assert loaded.file.path == note.file.path
    assert docs.paths == {note.file.path}


def test_a_file_that_its_row_releases_meanwhile_moves(engine: Engine, docs: WatchedBackend) -> None:
    first = row_of(engine, file=FileObject(content=b"abc"))
    assert first.file
    with Session(engine) as session:
        session.delete(session.get_one(Note, first.id))
        session.add(second := Note(file=FileObject.from_reference(first.file.to_reference())))
        session.commit()
        assert second.file
        assert (second.file.get_content(), docs.paths) == (b"abc", {second.file.path})


def test_rules_hold_for_bytes_that_are_passed_on(engine: Engine) -> None:
    found = FileObject.from_reference(saved().to_reference())
    with pytest.raises(FileTooLargeError):
        row_of(engine, small=FileObject(filename=found.filename, content=found.stream()))


def test_another_backend_s_column_gets_a_copy_there(engine: Engine, docs: WatchedBackend) -> None:
    storages.register_backend(other := MemoryBackend("other"))
    file = FileObject("other", content=b"abc").save()
    note = row_of(engine, file=FileObject.from_reference(file.to_reference()))
    assert note.file
    assert note.file.backend_key == "docs"
    assert note.file.get_content() == b"abc"
    delete(engine, note)
    assert [info.path for info in other.list()] == [file.path]


def test_its_holder_cannot_delete_it_by_mistake() -> None:
    file = saved()
    with pytest.raises(FileStateError, match="belongs to a row"):
        FileObject.from_reference(file.to_reference()).delete()
    assert file.exists()
