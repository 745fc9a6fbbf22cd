"""What a flush finds out only while it runs: orphans, cascades, and listeners of the application that come after ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Document, Folder, Sheet, Stamped
from tests.cases.world import World


def folder(world: World, count: int = 3) -> Folder:
    row: Folder = world.add(Folder, sheets=[Sheet(file=world.file()) for _ in range(count)])
    return row


def test_a_cascade_stores_and_deletes_the_children_s_files(world: World) -> None:
    row = folder(world)
    assert world.count() == 3
    world.session.delete(row)
    world.session.commit()
    assert world.count() == 0


def test_a_cascaded_delete_that_is_rolled_back_keeps_all_files(world: World) -> None:
    row = folder(world)
    world.session.delete(row)
    world.session.flush()
    world.session.rollback()
    assert world.count() == 3


def test_a_delete_orphan_loses_its_file(world: World) -> None:
    row = folder(world)
    del row.sheets[1]
    world.session.commit()
    assert world.count() == 2


def test_a_delete_orphan_that_is_rolled_back_keeps_its_file(world: World) -> None:
    row = folder(world)
    del row.sheets[1]
    world.session.flush()
    world.session.rollback()
    assert world.count() == 3


def test_all_children_replaced_lose_their_files(world: World) -> None:
    row = folder(world)
    row.sheets = [Sheet(file=world.file(b"new"))]
    world.session.commit()
    assert world.stored(row.sheets[0].file) == b"new"
    assert world.count() == 1


def test_orphan_deleted_as_its_file_is_replaced_leaves_neither(world: World) -> None:
    row = folder(world)
    sheet = row.sheets[1]
    sheet.file = world.file()
    row.sheets.remove(sheet)
    world.session.commit()
    assert world.count() == 2


def test_row_deleted_as_its_file_is_replaced_leaves_neither(world: World) -> None:
    document = world.add(file=world.file())
    document.file = world.file()
    world.session.delete(document)
    world.session.commit()
    assert world.count() == 0


def test_an_orphan_s_file_may_move_to_another_row(world: World) -> None:
    row = folder(world)
    sheet = row.sheets[0]
    path = sheet.file.path
    document = Document(file=sheet.file)
    world.session.add(document)
    row.sheets.remove(sheet)
    world.session.commit()
    world.stored(document.file)
    assert world.count() == 3
    assert path


def test_a_deleted_row_s_file_may_move_to_a_new_row(world: World) -> None:
    old = world.add(file=world.file(b"moved"))
    new = Document(file=old.file)
    world.session.delete(old)
    world.session.add(new)
    world.session.commit()
    assert world.stored(new.file) == b"moved"
    assert world.count() == 1


def test_new_row_with_a_deleted_row_s_key_has_none_of_its_files(world: World) -> None:
    old = world.add(file=world.file(b"old"), cover=world.file(), pages=world.files(2))
    new = Document(id=old.id, file=world.file(b"new"))
    world.session.delete(old)
    world.session.add(new)
    world.session.commit()
    assert world.stored(new.file) == b"new"
    assert (new.cover, new.pages) == (None, [])


def test_new_row_with_a_deleted_row_s_key_may_take_its_file_over(world: World) -> None:
    old = world.add(file=world.file(), cover=world.file(b"kept"))
    new = Document(id=old.id, file=old.cover)
    world.session.delete(old)
    world.session.add(new)
    world.session.commit()
    assert world.stored(new.file) == b"kept"
    assert new.cover is None
    assert world.count() == 1


def test_rolled_back_row_with_a_deleted_key_leaves_the_old_row(world: World) -> None:
    old = world.add(file=world.file(b"old"), cover=world.file(b"cover"))
    key = old.id
    with world.session.begin_nested() as savepoint:
        world.session.delete(old)
        world.session.add(Document(id=key, file=world.file(b"new")))
        world.session.flush()
        savepoint.rollback()
    world.session.commit()
    row = world.session.get_one(Document, key)
    assert (world.stored(row.file), world.stored(row.cover)) == (b"old", b"cover")


def test_a_new_row_with_the_key_of_an_orphan_has_not_its_file(world: World) -> None:
    row = folder(world, 1)
    sheet = row.sheets[0]
    row.sheets = [Sheet(id=sheet.id)]
    world.session.commit()
    assert row.sheets[0].file is None
    assert world.count() == 0


def test_pending_orphan_that_never_becomes_a_row_stores_nothing(world: World) -> None:
    row = folder(world, 0)
    sheet = Sheet(file=world.file(b"mine"))
    row.sheets.append(sheet)
    row.sheets.remove(sheet)
    world.session.commit()
    assert world.count() == 0
    assert sheet not in world.session


def test_a_pending_orphan_beside_other_work_leaves_nothing(world: World) -> None:
    row = folder(world, 0)
    sheet = Sheet(file=world.file(b"mine"))
    row.sheets.append(sheet)
    row.sheets.remove(sheet)
    world.session.add(Document(file=world.file()))
    world.session.commit()
    world.check()
    row.sheets.append(sheet)
    world.session.commit()
    assert world.stored(sheet.file) == b"mine"


def test_a_new_row_that_is_expunged_again_stores_nothing(world: World) -> None:
    document = Document(file=world.file())
    world.session.add(document)
    world.session.expunge(document)
    world.session.commit()
    assert world.count() == 0


def test_row_added_and_deleted_in_one_transaction_leaves_nothing(world: World) -> None:
    document = Document(file=world.file())
    world.session.add(document)
    world.session.flush()
    world.session.delete(document)
    world.session.commit()
    assert world.count() == 0


Listener = Callable[[World, Document], Any]
LATE_CHANGES: dict[str, Listener] = {
    "replaces": lambda world, row: setattr(row, "file", world.file(b"late")),
    "sets_another_column": lambda world, row: setattr(row, "cover", world.file(b"late")),
    "clears": lambda world, row: setattr(row, "file", None),
    "appends": lambda world, row: row.pages.append(world.file(b"late")),
    "replaces_the_list": lambda world, row: setattr(row, "pages", world.files(2)),
    "adds_a_row": lambda world, row: world.session.add(Document(file=world.file(b"late"))),
    "adds_a_row_that_shares": lambda world, row: world.session.add(Document(cover=row.file)),
    "moves": lambda world, row: (world.session.add(Document(cover=row.file)), setattr(row, "file", None)),
    "moves_to_the_other_column": lambda world, row: (setattr(row, "cover", row.file), setattr(row, "file", None)),
}
late_change = pytest.mark.parametrize("change", LATE_CHANGES.values(), ids=LATE_CHANGES)


def once(world: World, name: str, change: Callable[[], object]) -> None:
    """Let a listener that comes after ours change something in the next flush."""

    def listener(*_: object) -> None:
        change()

    event.listen(world.session, name, listener, once=True)


@late_change
def test_a_later_before_flush_listener_changes_a_new_row(world: World, change: Listener) -> None:
    document = Document(file=world.file(b"first"), pages=world.files(1))
    world.session.add(document)
    once(world, "before_flush", lambda: change(world, document))
    world.session.commit()
    world.check()


@late_change
def test_a_later_before_flush_listener_changes_a_row(world: World, change: Listener) -> None:
    document = world.add(file=world.file(b"first"), pages=world.files(1))
    document.title = "changed"
    once(world, "before_flush", lambda: change(world, document))
    world.session.commit()
    world.check()


@late_change
def test_later_listener_changes_a_row_whose_file_is_replaced(world: World, change: Listener) -> None:
    document = world.add(file=world.file(b"first"), pages=world.files(1))
    document.file = world.file(b"second")
    document.pages.append(world.file())
    once(world, "before_flush", lambda: change(world, document))
    world.session.commit()
    world.check()


@late_change
def test_a_later_change_that_is_rolled_back_leaves_the_first(world: World, change: Listener) -> None:
    document = world.add(file=world.file(b"first"), pages=world.files(1))
    document.file = world.file(b"second")
    once(world, "before_flush", lambda: change(world, document))
    world.session.flush()
    world.session.rollback()
    assert world.stored(document.file) == b"first"
    assert world.count() == 2


def test_a_later_listener_may_take_a_replacement_back(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    original = document.file
    document.file = world.file(b"second")
    once(world, "before_flush", lambda: setattr(document, "file", original))
    world.session.commit()
    assert world.stored(document.file) == b"first"


def test_a_later_listener_may_take_a_removal_back(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    original = document.file
    document.file = None
    once(world, "before_flush", lambda: setattr(document, "file", original))
    world.session.commit()
    assert world.stored(document.file) == b"first"


def test_later_listener_may_delete_a_row_whose_file_is_replaced(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    document.file = world.file(b"second")
    once(world, "before_flush", lambda: world.session.delete(document))
    world.session.commit()
    assert world.count() == 0


def test_a_later_listener_may_take_a_deletion_back(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    assert document.file.size
    world.session.delete(document)
    once(world, "before_flush", lambda: world.session.add(document))
    world.session.commit()
    assert world.stored(document.file) == b"first"


def test_a_later_listener_may_expunge_a_new_row(world: World) -> None:
    document = Document(file=world.file(b"first"))
    world.session.add(document)
    once(world, "before_flush", lambda: world.session.expunge(document))
    world.session.commit()
    assert world.count() == 0


def test_a_mapper_listener_of_the_application_may_set_a_file(world: World) -> None:
    row = world.add(Stamped, file=world.file())
    assert world.stored(row.stamp) == b"before_insert"
    row.file = world.file()
    world.session.commit()
    assert world.stored(row.stamp) == b"before_update"
    assert world.count() == 2


def test_mapper_listener_that_comes_too_late_is_refused(world: World) -> None:
    row = world.add(title="a", file=world.file(b"kept"))
    row.title = "b"

    def listener(mapper: object, connection: object, target: Document) -> None:
        target.cover = world.file()

    event.listen(Document, "before_update", listener)  # after the class was configured, so after ours
    try:
        with pytest.raises(UnsupportedRouteError):
            world.session.commit()
    finally:
        event.remove(Document, "before_update", listener)
    world.session.rollback()
    assert world.stored(row.file) == b"kept"


def test_after_flush_may_change_files_for_the_next_flush(world: World) -> None:
    document = Document(file=world.file(b"first"))
    world.session.add(document)
    once(world, "after_flush_postexec", lambda: setattr(document, "cover", world.file(b"next")))
    world.session.commit()
    assert world.stored(document.cover) == b"next"


def test_a_before_commit_listener_may_change_files(world: World) -> None:
    document = world.add(file=world.file())
    document.title = "changed"
    once(world, "before_commit", lambda: setattr(document, "file", world.file(b"late")))
    world.session.commit()
    assert world.stored(document.file) == b"late"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_flush_of_some_objects_only_loses_no_file(world: World) -> None:
    first, second = Document(file=world.file(b"one")), Document(file=world.file(b"two"))
    world.session.add_all([first, second])
    world.session.flush([first])
    world.session.commit()
    assert (world.stored(first.file), world.stored(second.file)) == (b"one", b"two")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_partial_flush_that_is_rolled_back_leaves_nothing(world: World) -> None:
    first, second = Document(file=world.file(b"one")), Document(file=world.file(b"two"))
    world.session.add_all([first, second])
    world.session.flush([first])
    world.session.expunge(second)
    world.session.commit()
    assert world.count() == 1
