"""Listeners of the application that change what is flushed, before ours and after ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import delete, event, select, update
from sqlalchemy.orm import Session, attributes, make_transient, make_transient_to_detached

from filerow import FileObject
from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Document
from tests.cases.world import World


@contextmanager
def hooked(name: str, listener: Callable[..., None]) -> Iterator[None]:
    """Listen to an event of the documents' mapper."""
    event.listen(Document, name, listener)
    try:
        yield
    finally:
        event.remove(Document, name, listener)


@contextmanager
def listening(world: World, listener: Callable[[Session], None], *, first: bool) -> Iterator[None]:
    """Call a listener of the application's once, before ours or after ours."""
    target: Any = Session if first else world.session  # those of the class, of which ours is one, come first
    called: list[Session] = []

    def before_flush(session: Session, *_: object) -> None:
        if session is world.session and not called:
            called.append(session)
            listener(session)

    event.listen(target, "before_flush", before_flush, insert=first)
    try:
        yield
    finally:
        event.remove(target, "before_flush", before_flush)
    assert called, "the listener was not called"


order = pytest.mark.parametrize("first", [True, False], ids=["before_ours", "after_ours"])


def as_new_version(session: Session) -> None:
    """Do what SQLAlchemy's ``versioned_rows`` does: INSERT a new version, leave the old row as it was."""
    for one in list(session.dirty):
        if session.is_modified(one):
            make_transient(one)
            one.id = None
            session.add(one)


def rows(world: World) -> list[Document]:
    return list(world.session.scalars(select(Document).order_by(Document.id)))


@order
def test_new_version_with_an_unchanged_file_gets_a_copy(world: World, *, first: bool) -> None:
    row = world.add(title="a", file=world.file(b"same"), pages=[world.file(b"page")])
    assert row.file, row.pages
    row.title = "b"
    with listening(world, as_new_version, first=first):
        world.session.commit()
    assert [world.stored(one.file) for one in rows(world)] == [b"same", b"same"]
    assert [world.contents(one.pages) for one in rows(world)] == [[b"page"], [b"page"]]
    assert world.count() == 4


@order
def test_new_version_with_another_file_leaves_the_old_one(world: World, *, first: bool) -> None:
    row = world.add(title="a", file=world.file(b"old"))
    row.file = world.file(b"new")
    with listening(world, as_new_version, first=first):
        world.session.commit()
    assert [world.stored(one.file) for one in rows(world)] == [b"old", b"new"]


@order
def test_new_version_of_a_changed_list_shares_no_page(world: World, *, first: bool) -> None:
    row = world.add(pages=[world.file(b"1"), world.file(b"2")])
    row.pages.append(world.file(b"3"))
    del row.pages[0]
    with listening(world, as_new_version, first=first):
        world.session.commit()
    assert [world.contents(one.pages) for one in rows(world)] == [[b"1", b"2"], [b"2", b"3"]]
    assert world.count() == 4


@order
def test_new_version_of_a_cleared_file_leaves_the_old_one(world: World, *, first: bool) -> None:
    row = world.add(file=world.file(b"old"), cover=world.file(b"cover"))
    row.file = None
    with listening(world, as_new_version, first=first):
        world.session.commit()
    old, new = rows(world)
    assert (world.stored(old.file), new.file) == (b"old", None)


@order
def test_new_version_that_is_rolled_back_leaves_nothing(world: World, *, first: bool) -> None:
    row = world.add(title="a", file=world.file(b"same"))
    assert row.file
    row.title = "b"
    with listening(world, as_new_version, first=first):
        world.session.flush()
    world.session.rollback()
    assert [world.stored(one.file) for one in rows(world)] == [b"same"]
    assert world.count() == 1


@order
def test_new_version_of_a_row_that_gave_its_file_away(world: World, *, first: bool) -> None:
    row, other = world.add(file=world.file(b"moved")), world.add()
    other.file, row.file = row.file, None

    def only_the_giver(session: Session) -> None:
        make_transient(row)
        row.id = None
        session.add(row)

    with listening(world, only_the_giver, first=first):
        if first:
            world.session.commit()
            assert world.stored(other.file) == b"moved"
        else:
            with pytest.raises(UnsupportedRouteError, match=r"document\.file"):
                world.session.commit()
            world.session.rollback()


@order
def test_expunged_row_keeps_its_file(world: World, *, first: bool) -> None:
    row = world.add(file=world.file(b"old"))
    new = row.file = world.file(b"new")
    with listening(world, lambda session: session.expunge(row), first=first):
        world.session.commit()
    assert [world.stored(one.file) for one in rows(world)] == [b"old"]
    assert new.has_pending_data


@order
def test_expunged_giver_does_not_share_its_file(world: World, *, first: bool) -> None:
    row, other = world.add(file=world.file(b"moved")), world.add()
    other.file, row.file = row.file, None
    with listening(world, lambda session: session.expunge(row), first=first):
        if first:
            world.session.commit()
        else:
            with pytest.raises(UnsupportedRouteError, match=r"document\.file"):
                world.session.commit()
            world.session.rollback()
    world.session.expunge_all()
    assert world.stored(rows(world)[0].file) == b"moved"


@order
def test_expunged_new_row_leaves_nothing(world: World, *, first: bool) -> None:
    row = Document(file=world.file())
    world.session.add(row)
    with listening(world, lambda session: session.expunge(row), first=first):
        world.session.commit()
    assert row.file.has_pending_data
    assert world.count() == 0


@order
def test_row_expunged_and_added_again_is_written(world: World, *, first: bool) -> None:
    row = world.add(file=world.file())
    row.file = world.file(b"new")

    def again(session: Session) -> None:
        session.expunge(row)
        session.add(row)

    with listening(world, again, first=first):
        world.session.commit()
    assert world.stored(row.file) == b"new"
    assert world.count() == 1


@order
def test_row_deleted_by_a_listener_takes_its_files(world: World, *, first: bool) -> None:
    row = world.add(file=world.file(), pages=world.files(2))
    row.file = world.file(b"new")
    with listening(world, lambda session: session.delete(row), first=first):
        world.session.commit()
    assert world.count() == 0


@order
def test_deletion_taken_back_by_a_listener_keeps_the_file(world: World, *, first: bool) -> None:
    """The usual soft delete of an ORM."""
    row = world.add(title="a", file=world.file(b"kept"))
    world.session.delete(row)

    def soften(session: Session) -> None:
        session.add(row)
        row.title = "deleted"

    with listening(world, soften, first=first):
        world.session.commit()
    assert world.stored(rows(world)[0].file) == b"kept"


@order
def test_deletion_taken_back_by_a_listener_with_changes(world: World, *, first: bool) -> None:
    row = world.add(file=world.file(b"kept"), pages=[world.file(b"1")])
    row.pages.append(world.file(b"2"))
    world.session.delete(row)
    with listening(world, lambda session: session.add(row), first=first):
        world.session.commit()
    (row,) = rows(world)
    assert (world.stored(row.file), world.contents(row.pages)) == (b"kept", [b"1", b"2"])
    assert world.count() == 3


def _flush_of_nothing(world: World, row: Document) -> None:
    """Replace a file, and have a listener take the change back after ours, so that the flush has nothing to write."""
    row.file = world.file(b"never written")
    with listening(world, lambda session: session.expire(row), first=False):
        world.session.flush()


def _delete_rows(world: World, row: Document) -> None:
    world.session.execute(delete(Document).where(Document.id == row.id), execution_options={"synchronize_session": False})


def _replace_by_statement(world: World, row: Document) -> None:
    world.session.execute(update(Document).where(Document.id == row.id).values(file=world.file(b"by statement")))


def _delete_in_a_savepoint(world: World, row: Document) -> None:
    with world.session.begin_nested():
        _delete_rows(world, row)


@pytest.mark.parametrize(
    ("statement", "left"),
    [(_delete_rows, 0), (_replace_by_statement, 1), (_delete_in_a_savepoint, 0)],
    ids=["delete", "update", "savepoint"],
)
def test_flush_with_nothing_left_to_write_keeps_no_file_later(
    world: World, statement: Callable[[World, Document], None], left: int
) -> None:
    row = world.add(file=world.file(b"old"))
    _flush_of_nothing(world, row)
    statement(world, row)
    world.session.commit()
    assert world.count() == left
    world.check()


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_flush_with_nothing_left_to_write_ends_with_savepoint(world: World, end: str) -> None:
    row = world.add(file=world.file(b"old"))
    with world.session.begin_nested() as savepoint:
        _flush_of_nothing(world, row)
        getattr(savepoint, end)()
    world.session.delete(row)
    world.session.commit()
    assert world.count() == 0


@order
def test_row_with_a_new_key_takes_its_files_along(world: World, *, first: bool) -> None:
    row = world.add(file=world.file(), pages=[world.file(b"page")])
    row.file = world.file(b"new")

    def rekey(session: Session) -> None:
        row.id += 1000

    with listening(world, rekey, first=first):
        world.session.commit()
    (row,) = rows(world)
    assert (world.stored(row.file), world.contents(row.pages)) == (b"new", [b"page"])
    assert world.count() == 2


@order
def test_row_with_a_new_key_and_another_in_its_place(world: World, *, first: bool) -> None:
    row = world.add(file=world.file(b"old"))
    key = row.id

    def rekey(session: Session) -> None:
        row.id += 1000
        session.add(Document(id=key, file=world.file(b"new")))

    row.title = "moved"
    with listening(world, rekey, first=first), pytest.warns(match="conflicts with persistent instance"):
        world.session.commit()
    world.session.expunge_all()
    assert [world.stored(one.file) for one in rows(world)] == [b"new", b"old"]


@order
def test_row_detached_under_another_key_writes_that_row(world: World, *, first: bool) -> None:
    row, other = world.add(file=world.file(b"one")), world.add(file=world.file(b"other"))
    key = other.id
    world.session.expunge(other)
    row.file = world.file(b"new")

    def as_the_other(session: Session) -> None:
        make_transient(row)
        row.id = key
        make_transient_to_detached(row)
        session.add(row)
        attributes.set_attribute(row, "title", "changed")

    with listening(world, as_the_other, first=first):
        world.session.commit()
    world.session.expunge_all()
    assert world.stored(rows(world)[0].file) == b"one"


@order
def test_copy_of_a_row_made_by_a_listener_gets_copies(world: World, *, first: bool) -> None:
    row = world.add(title="a", file=world.file(b"same"), pages=[world.file(b"page")])
    row.title = "b"
    with listening(world, lambda session: session.add(Document(file=row.file, pages=row.pages)), first=first):
        world.session.commit()
    assert [world.stored(one.file) for one in rows(world)] == [b"same", b"same"]
    assert world.count() == 4


@order
def test_old_version_kept_in_a_new_row_keeps_its_object(world: World, *, first: bool) -> None:
    """A history table: the listener puts what the attribute held into another row."""
    row = world.add(title="a", file=world.file(b"old"))
    before = row.file
    row.file = world.file(b"new")
    with listening(world, lambda session: session.add(Document(file=before)), first=first):
        world.session.commit()
    assert [world.stored(one.file) for one in rows(world)] == [b"new", b"old"]
    assert world.count() == 2


@pytest.mark.parametrize("what", ["attached", "none"])
def test_change_after_our_last_look_is_refused(world: World, what: str) -> None:
    """A listener of the class that was set after ours, and so is called after ours."""
    row, other = world.add(file=world.file(b"one")), world.add(file=world.file(b"other"))
    value = None if what == "none" else other.file

    def before_update(mapper: object, connection: object, target: Document) -> None:
        if target is row:
            target.file = value

    with hooked("before_update", before_update):
        row.title = "changed"
        with pytest.raises(UnsupportedRouteError, match=r"document\.file"):
            world.session.commit()
    world.session.rollback()
    assert [world.stored(one.file) for one in rows(world)] == [b"one", b"other"]


def test_pending_file_after_our_last_look_is_refused(world: World) -> None:
    row = world.add(file=world.file(b"one"))

    def before_update(mapper: object, connection: object, target: Document) -> None:
        target.file = FileObject(content=b"late")

    with hooked("before_update", before_update):
        row.title = "changed"
        with pytest.raises(Exception, match="not stored yet"):
            world.session.commit()
    world.session.rollback()
    assert world.stored(row.file) == b"one"


def expire(session: Session, row: Document) -> None:
    session.expire(row)


def expire_file(session: Session, row: Document) -> None:
    session.expire(row, ["file", "pages"])


def expire_all(session: Session, row: Document) -> None:
    session.expire_all()


def refresh(session: Session, row: Document) -> None:
    session.refresh(row)


@pytest.mark.parametrize("how", [expire, expire_file, expire_all, refresh])
@pytest.mark.parametrize("hook", ["after_flush", "after_flush_postexec"])
@order
def test_row_expired_after_it_is_written_keeps_its_new_files(world: World, how: Any, hook: str, *, first: bool) -> None:
    row = world.add(file=world.file(b"old"), pages=[world.file(b"1")])
    row.file = world.file(b"new")
    row.pages.append(world.file(b"2"))
    target: Any = Session if first else world.session

    def listener(session: Session, *_: object) -> None:
        if session is world.session:
            how(session, row)

    event.listen(target, hook, listener, insert=first)
    try:
        world.session.commit()
    finally:
        event.remove(target, hook, listener)
    assert world.stored(row.file) == b"new"
    assert world.contents(row.pages) == [b"1", b"2"]
    assert world.count() == 3


def test_row_expired_by_after_update_keeps_its_new_file(world: World) -> None:
    row = world.add(file=world.file(b"old"))
    row.file = world.file(b"new")

    def listener(mapper: object, connection: object, target: Document) -> None:
        world.session.expire(target)

    with hooked("after_update", listener):
        world.session.commit()
    assert world.stored(row.file) == b"new"
    assert world.count() == 1


@pytest.mark.parametrize("names", [["file"], None])
def test_row_expired_before_it_is_written_keeps_its_old_file(world: World, names: list[str] | None) -> None:
    row = world.add(title="a", file=world.file(b"old"))
    row.title, row.file = "b", world.file(b"new")

    def listener(mapper: object, connection: object, target: Document) -> None:
        world.session.expire(target, names)  # without names, SQLAlchemy writes nothing at all

    # after ours, and too late for SQLAlchemy to see that it is one more
    with hooked("before_update", listener):
        world.session.commit()
    assert world.stored(row.file) in {b"old", b"new"}
    assert world.count() == 1


def test_row_without_a_file_that_is_expired_before_it_is_written(world: World) -> None:
    row = world.add(pages=[world.file(b"1")])
    row.pages.append(world.file(b"2"))
    row.file = world.file(b"new")

    def listener(mapper: object, connection: object, target: Document) -> None:
        world.session.expire(target)

    with hooked("before_update", listener):
        world.session.commit()
    assert row.file is None
    assert world.contents(row.pages) == [b"1"]
    assert world.count() == 1


def replace_by_statement(session: Session) -> None:
    session.execute(update(Document).values(file=FileObject(filename="a.txt", content=b"statement")))


def delete_by_statement(session: Session) -> None:
    session.execute(delete(Document))


@pytest.mark.parametrize("statement", [replace_by_statement, delete_by_statement])
def test_statement_on_a_row_of_the_flush_is_refused_after_ours(world: World, statement: Callable[[Session], None]) -> None:
    row = world.add(file=world.file(b"old"))
    row.file = world.file(b"new")
    with (
        listening(world, statement, first=False),
        pytest.raises(UnsupportedRouteError, match=r"document\.file of the row"),
    ):
        world.session.commit()
    world.session.rollback()
    assert world.stored(row.file) == b"old"


def test_statement_on_a_row_of_the_flush_runs_before_ours(world: World) -> None:
    row = world.add(file=world.file(b"old"))
    row.file = world.file(b"new")
    with listening(world, replace_by_statement, first=True):
        world.session.commit()
    assert world.count() == 1


def test_statement_on_another_row_runs_in_any_listener(world: World) -> None:
    row, other = world.add(file=world.file(b"old")), world.add(file=world.file(b"other"))
    row.file = world.file(b"new")

    def replace_other(session: Session) -> None:
        session.execute(
            update(Document).where(Document.id == other.id).values(file=FileObject(filename="a.txt", content=b"statement"))
        )

    with listening(world, replace_other, first=False):
        world.session.commit()
    assert [world.stored(one.file) for one in rows(world)] == [b"new", b"statement"]
    assert world.count() == 2


@pytest.mark.parametrize("end", ["commit", "rollback", "close"])
@order
def test_savepoint_left_open_by_listener_ends_with_transaction(world: World, end: str, *, first: bool) -> None:
    row, other = world.add(file=world.file(b"old")), world.add(file=world.file(b"other"))
    other.file = world.file(b"another")
    world.session.flush()
    row.file = world.file(b"new")
    with listening(world, lambda session: session.begin_nested() and None, first=first):
        if end != "commit":
            world.session.flush()
        getattr(world.session, end)()
    world.session.close()
    expected = [b"new", b"another"] if end == "commit" else [b"old", b"other"]
    assert [world.stored(one.file) for one in rows(world)] == expected
    assert world.count() == 2
