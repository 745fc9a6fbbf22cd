"""What fails leaves nothing behind, and the session can be used again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError as DatabaseIntegrityError
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.exceptions import (
    BackendMismatchError,
    ContentError,
    FilerowError,
    FileStateError,
    IntegrityError,
    StorageError,
    UntrustedDocumentError,
)
from tests.cases.models import Document, Folder, Named, Note
from tests.cases.world import World


class SourceBrokeError(Exception):
    """An error of the application's own."""


def broken() -> Iterator[bytes]:
    yield b"first chunk"
    raise SourceBrokeError


def work_goes_on(world: World) -> None:
    """Show that the session is as good as new."""
    document = world.add(file=world.file(b"afterwards"))
    assert world.stored(document.file) == b"afterwards"
    world.check()


def test_one_failing_upload_of_many_fails_the_commit(world: World) -> None:
    session = world.session
    documents = [Document(file=world.file()) for _ in range(5)]
    documents[3].file = world.file(broken())
    session.add_all(documents)
    with pytest.raises(SourceBrokeError):
        session.commit()
    session.rollback()
    assert world.count() == 0
    documents[3].file = world.file(b"fixed")
    session.add_all(documents)
    session.commit()
    assert world.count() == 5


def test_a_failing_replacement_keeps_the_old_file(world: World) -> None:
    document = world.add(file=world.file(b"old"))
    document.file = world.file(broken())
    with pytest.raises(SourceBrokeError):
        world.session.commit()
    world.session.rollback()
    assert world.stored(document.file) == b"old"
    work_goes_on(world)


@pytest.mark.parametrize("wrong", [{"checksum": "sha256:" + "0" * 64}, {"size": 3}], ids=["checksum", "size"])
def test_content_that_is_not_what_was_announced_is_refused(world: World, wrong: dict[str, object]) -> None:
    world.session.add(Document(file=world.file(b"four", **wrong), cover=world.file()))
    with pytest.raises(IntegrityError):
        world.session.commit()
    world.session.rollback()
    work_goes_on(world)


@pytest.mark.parametrize("moment", ["put", "put-late"])
def test_a_store_that_fails_fails_the_flush(world: World, moment: str) -> None:
    document = Document(file=world.file(b"one"), cover=world.file())
    world.session.add(document)
    world.docs.failing.add(moment)
    with pytest.raises(StorageError):
        world.session.flush()
    world.docs.failing.clear()
    world.session.rollback()
    assert world.count() == 0
    world.session.add(document)
    world.session.commit()
    assert world.stored(document.file) == b"one"


def test_a_failing_flush_takes_its_uploads_back(world: World) -> None:
    world.add(Named, name="taken", file=world.file())
    row = Named(name="taken", file=world.file(b"mine"))
    world.session.add(row)
    with pytest.raises(DatabaseIntegrityError):
        world.session.flush()
    world.session.rollback()
    assert world.count() == 1
    row.name = "free"
    world.session.add(row)
    world.session.commit()
    assert world.stored(row.file) == b"mine"


def test_a_failing_flush_keeps_what_it_would_have_replaced(world: World) -> None:
    world.add(Named, name="taken")
    row = world.add(Named, name="mine", file=world.file(b"old"))
    row.name, row.file = "taken", world.file()
    with pytest.raises(DatabaseIntegrityError):
        world.session.commit()
    world.session.rollback()
    assert world.stored(row.file) == b"old"
    work_goes_on(world)


def test_a_failing_commit_takes_back_what_was_flushed(world: World) -> None:
    note = Note(folder_id=4711, file=world.file(b"mine"))
    world.session.add(note)
    with pytest.raises(DatabaseIntegrityError):
        world.session.commit()
    world.session.rollback()
    assert world.count() == 0
    note.folder_id = None
    world.session.add(note)
    world.session.commit()
    assert world.stored(note.file) == b"mine"


def test_a_failing_commit_deletes_nothing(world: World) -> None:
    note = world.add(Note, file=world.file(b"old"))
    note.file, note.folder_id = world.file(), 4711
    world.session.add(Document(pages=world.files(3)))
    with pytest.raises(DatabaseIntegrityError):
        world.session.commit()
    world.session.rollback()
    assert world.stored(note.file) == b"old"
    work_goes_on(world)


def test_a_failing_commit_followed_by_close_leaves_nothing(world: World) -> None:
    world.session.add(Note(folder_id=4711, file=world.file()))
    with pytest.raises(DatabaseIntegrityError):
        world.session.commit()
    world.session.close()
    assert world.count() == 0
    work_goes_on(world)


ENDINGS: dict[str, Callable[[Session], None]] = {
    "rollback": Session.rollback,
    "close": Session.close,
    "reset": Session.reset,
    "invalidate": Session.invalidate,
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_what_was_never_committed_goes(world: World, end: Callable[[Session], None]) -> None:
    kept = world.add(file=world.file(b"kept"), pages=world.files(2))
    key = kept.id
    kept.file = world.file()
    del kept.pages[0]
    world.session.add(Document(file=world.file()))
    world.session.flush()
    end(world.session)
    world.check()
    assert world.stored(world.session.get_one(Document, key).file) == b"kept"
    work_goes_on(world)


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_an_object_added_again_is_stored_again(world: World, end: Callable[[Session], None]) -> None:
    document = Document(file=world.file(b"one"), pages=[world.file(b"two")])
    world.session.add(document)
    world.session.flush()
    first = document.file.path
    end(world.session)
    assert world.count() == 0
    copy = Document(file=document.file, pages=list(document.pages))
    world.session.add(copy)
    world.session.commit()
    assert world.stored(copy.file) == b"one"
    assert copy.file.path != first


def test_used_up_stream_cannot_be_stored_again_and_says_so(world: World) -> None:
    document = Document(file=world.file(iter([b"once"])))
    world.session.add(document)
    world.session.flush()
    world.session.rollback()
    world.session.add(document)
    with pytest.raises((ContentError, FileStateError)):
        world.session.commit()
    world.session.rollback()
    work_goes_on(world)


def test_a_file_rolled_back_is_pending_again(world: World) -> None:
    file = world.file(b"one")
    world.session.add(Document(file=file))
    world.session.flush()
    assert not file.has_pending_data
    world.session.rollback()
    assert file.has_pending_data
    assert file.get_content() == b"one"


def test_application_error_in_a_with_block_leaves_nothing(world: World) -> None:
    with pytest.raises(SourceBrokeError), world.open() as session, session.begin():
        session.add(Document(file=world.file()))
        session.flush()
        raise SourceBrokeError
    assert world.count() == 0


def test_listener_that_fails_after_uploads_leaves_nothing(world: World) -> None:
    def refuse(*_: object) -> None:
        raise SourceBrokeError

    for name in ("before_flush", "after_flush", "before_commit"):
        event.listen(world.session, name, refuse)
        world.session.add(Document(file=world.file()))
        with pytest.raises(SourceBrokeError):
            world.session.commit()
        event.remove(world.session, name, refuse)
        world.session.rollback()
        assert world.count() == 0, name
    work_goes_on(world)


@pytest.mark.parametrize("route", ["replace", "delete"])
def test_failed_delete_at_the_store_never_makes_commit_raise(world: World, caplog: pytest.LogCaptureFixture, route: str) -> None:
    document = world.add(file=world.file())
    path = document.file.path
    if route == "replace":
        document.file = world.file(b"new")
    else:
        world.session.delete(document)
    world.docs.failing.add("delete")
    with caplog.at_level(logging.ERROR, "filerow"):
        world.session.commit()
    world.docs.failing.clear()
    assert storages.failed_deletes == 1
    assert path in caplog.text
    assert ("docs", path) in world.store.objects()
    world.sweep("docs", path)  # what a sweep would do


def test_a_delete_that_fails_in_a_rollback_hides_no_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.session.add(Document(file=world.file(), cover=world.file(broken())))
    world.docs.failing.add("delete")
    with pytest.raises(SourceBrokeError), caplog.at_level(logging.ERROR, "filerow"):
        world.session.commit()
    world.docs.failing.clear()
    world.session.rollback()
    for _, path in world.store.objects():
        assert path in caplog.text
        world.sweep("docs", path)


def test_an_object_that_is_gone_already_counts_as_deleted(world: World) -> None:
    document = world.add(file=world.file())
    world.sweep("docs", document.file.path)
    world.session.delete(document)
    world.session.commit()
    assert storages.failed_deletes == 0


def test_unregistered_backend_never_makes_commit_raise(world: World) -> None:
    document = world.add(attachment=world.file())
    path = document.attachment.path
    world.session.delete(document)
    storages.unregister_backend("other")
    world.session.commit()
    assert storages.failed_deletes == 1
    world.store.register("other")
    world.sweep("other", path)


def test_a_file_for_another_backend_is_refused(world: World) -> None:
    with pytest.raises(BackendMismatchError, match="other"):
        Document(file=world.file(backend="other"))
    with pytest.raises(BackendMismatchError):
        world.add(pages=[world.file(backend="other")])
    world.session.rollback()
    work_goes_on(world)


def test_a_dict_assigned_to_a_column_is_refused(world: World) -> None:
    document = world.add(file=world.file(b"mine"))
    victim = world.add(file=world.file())
    stolen = victim.file.to_dict()
    with pytest.raises(UntrustedDocumentError):
        document.file = stolen
    with pytest.raises(UntrustedDocumentError):
        document.pages = [stolen]
    with pytest.raises(UntrustedDocumentError):
        document.pages.append(stolen)
    world.session.commit()
    assert world.stored(document.file) == b"mine"


def test_text_is_not_content(world: World) -> None:
    with pytest.raises(TypeError):
        FileObject(content="/etc/passwd")
    with pytest.raises(TypeError):
        Document(file="/etc/passwd")
    with pytest.raises(TypeError):
        Document(file=b"bytes need a FileObject")


def test_a_file_without_content_is_refused(world: World) -> None:
    world.session.add(Document(file=FileObject(filename="nothing.txt")))
    with pytest.raises(FilerowError, match="content"):
        world.session.commit()
    world.session.rollback()
    work_goes_on(world)


def test_the_parent_that_failed_does_not_take_the_folder_along(world: World) -> None:
    folder = world.add(Folder)
    world.session.add(Note(folder_id=folder.id, file=world.file()))
    world.session.commit()
    world.session.add(Note(folder_id=4711, file=world.file()))
    with pytest.raises(DatabaseIntegrityError):
        world.session.commit()
    world.session.rollback()
    assert world.count() == 1
