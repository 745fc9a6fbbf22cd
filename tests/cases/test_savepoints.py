"""Savepoints: what is done inside lives and dies with them, and nothing is deleted before the outermost commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from tests.cases.models import Document, Named
from tests.cases.world import World


class SavedRow:
    """A committed row, and what a savepoint does to it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.row = world.add(file=world.file(b"old"), pages=[world.file(b"1"), world.file(b"2")])
        self.key = self.row.id
        self.added: Document | None = None

    def add(self) -> None:
        self.added = Document(file=self.world.file(b"added"))
        self.world.session.add(self.added)

    def replace(self) -> None:
        self.row.file = self.world.file(b"new")

    def clear(self) -> None:
        self.row.file = None

    def delete(self) -> None:
        self.world.session.delete(self.row)

    def edit(self) -> None:
        del self.row.pages[0]
        self.row.pages.append(self.world.file(b"3"))

    def move(self) -> None:
        self.added = Document(file=self.row.file)
        self.world.session.add(self.added)
        self.row.file = None

    def untouched(self) -> bool:
        row = self.world.session.get(Document, self.key)
        rows = self.world.session.query(Document).count()
        return (
            rows == 1
            and row is not None
            and row.file is not None
            and self.world.stored(row.file) == b"old"
            and self.world.contents(row.pages) == [b"1", b"2"]
        )


ACTIONS: dict[str, Callable[[SavedRow], None]] = {
    "add": SavedRow.add,
    "replace": SavedRow.replace,
    "clear": SavedRow.clear,
    "delete": SavedRow.delete,
    "list_edit": SavedRow.edit,
    "move": SavedRow.move,
}
each_action = pytest.mark.parametrize("act", ACTIONS.values(), ids=ACTIONS)


@each_action
def test_rolled_back(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    savepoint = world.session.begin_nested()
    act(saved)
    world.session.flush()
    savepoint.rollback()
    world.session.commit()
    assert saved.untouched()


@each_action
def test_rolled_back_and_done_again_outside(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    savepoint = world.session.begin_nested()
    act(saved)
    world.session.flush()
    savepoint.rollback()
    act(saved)
    world.session.commit()
    assert not saved.untouched()


@each_action
def test_rolled_back_and_then_all_of_it(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    world.session.add(Document(file=world.file()))
    savepoint = world.session.begin_nested()
    act(saved)
    world.session.flush()
    savepoint.rollback()
    world.session.rollback()
    assert saved.untouched()


@each_action
def test_released_then_rolled_back_outside(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    with world.session.begin_nested():
        act(saved)
    world.session.rollback()
    assert saved.untouched()


@each_action
def test_released_deletes_nothing_before_the_commit(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    before = world.store.objects()
    with world.session.begin_nested():
        act(saved)
    assert before <= world.store.objects()
    world.session.commit()
    world.check()
    assert not saved.untouched()


@each_action
def test_an_unrelated_savepoint_that_fails_changes_nothing(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    world.add(Named, name="taken")
    act(saved)
    world.session.flush()
    with pytest.raises(IntegrityError), world.session.begin_nested():
        world.session.add(Named(name="taken", file=world.file()))
    world.session.commit()
    world.check()
    assert not saved.untouched()


@each_action
def test_unrelated_savepoint_that_is_rolled_back_changes_nothing(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    act(saved)
    savepoint = world.session.begin_nested()
    world.session.add(Document(file=world.file(), pages=world.files(2)))
    world.session.flush()
    savepoint.rollback()
    world.session.commit()
    world.check()
    assert not saved.untouched()


@pytest.mark.one_in(8, least=2)
@each_action
@pytest.mark.parametrize("inner", ["commit", "rollback"])
@pytest.mark.parametrize("outer", ["commit", "rollback"])
@pytest.mark.parametrize("whole", ["commit", "rollback"])
def test_nested_two_deep(world: World, act: Callable[[SavedRow], None], inner: str, outer: str, whole: str) -> None:
    saved = SavedRow(world)
    first = world.session.begin_nested()
    world.session.add(Named(name="first", file=world.file()))
    second = world.session.begin_nested()
    act(saved)
    world.session.flush()
    end(second, inner)
    world.session.add(Named(name="second", file=world.file()))
    end(first, outer)
    end(world.session, whole)
    world.check()
    assert saved.untouched() == ("rollback" in {inner, outer, whole})
    assert world.session.query(Named).count() == (2 if outer == whole == "commit" else 0)


def end(transaction: Any, how: str) -> None:
    getattr(transaction, how)()


@each_action
def test_rolled_back_outside_while_still_open(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    world.session.begin_nested()
    act(saved)
    world.session.flush()
    world.session.begin_nested()
    world.session.add(Document(file=world.file()))
    world.session.flush()
    world.session.get_transaction().rollback()  # type: ignore[union-attr]
    assert saved.untouched()


@each_action
def test_closed_while_still_open(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    world.session.begin_nested()
    act(saved)
    world.session.flush()
    world.session.close()
    assert saved.untouched()


@each_action
def test_committed_while_still_open(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    world.session.begin_nested()
    act(saved)
    world.session.flush()
    world.session.commit()
    world.check()
    assert not saved.untouched()


@each_action
def test_the_next_savepoint_after_a_failed_one_works(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    world.add(Named, name="taken")
    with pytest.raises(IntegrityError), world.session.begin_nested():
        world.session.add(Named(name="taken", file=world.file()))
    with world.session.begin_nested():
        act(saved)
    world.session.commit()
    world.check()
    assert not saved.untouched()


def test_replaced_outside_and_inside_rolled_back_keeps_the_outer(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    document.file = world.file(b"second")
    world.session.flush()
    savepoint = world.session.begin_nested()
    document.file = world.file(b"third")
    world.session.flush()
    savepoint.rollback()
    world.session.commit()
    assert world.stored(document.file) == b"second"


def test_dropped_file_whose_restoration_is_undone_is_dropped(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    file = document.file
    document.file = None
    world.session.flush()
    savepoint = world.session.begin_nested()
    document.file = file
    world.session.flush()
    savepoint.rollback()
    world.session.commit()
    assert world.count() == 0


def test_dropped_file_restored_twice_in_a_savepoint_is_kept(world: World) -> None:
    row, other = world.add(file=world.file(b"wanted")), world.add()
    file, row.file = row.file, None
    world.session.flush()
    savepoint = world.session.begin_nested()
    for wanted in (file, None, file):
        other.file = wanted
        world.session.flush()
    savepoint.commit()
    world.session.commit()
    assert world.stored(other.file) == b"wanted"


def test_dropped_file_restored_in_each_savepoint_is_kept(world: World) -> None:
    row, other = world.add(file=world.file(b"wanted")), world.add()
    file, row.file = row.file, None
    world.session.flush()
    with world.session.begin_nested():
        for wanted in (file, None, file):
            with world.session.begin_nested():
                other.file = wanted
    world.session.commit()
    assert world.stored(other.file) == b"wanted"


def test_dropped_inside_and_taken_back_outside_is_kept(world: World) -> None:
    document = world.add(file=world.file(b"first"))
    file = document.file
    with world.session.begin_nested():
        document.file = None
    document.file = file
    world.session.commit()
    assert world.stored(document.file) == b"first"


def test_row_added_outside_deleted_inside_rolled_back_stays(world: World) -> None:
    document = Document(file=world.file(b"first"))
    world.session.add(document)
    world.session.flush()
    savepoint = world.session.begin_nested()
    world.session.delete(document)
    world.session.flush()
    savepoint.rollback()
    world.session.commit()
    assert world.stored(document.file) == b"first"


def test_pending_file_of_a_failed_savepoint_is_stored_by_next(world: World) -> None:
    world.add(Named, name="taken")
    row = Named(name="taken", file=world.file(b"mine"))
    with pytest.raises(IntegrityError), world.session.begin_nested():
        world.session.add(row)
    row.name = "free"
    with world.session.begin_nested():
        world.session.add(row)
    world.session.commit()
    assert world.stored(row.file) == b"mine"


@each_action
def test_unnoticed_connection_savepoint_rollback_loses_no_bytes(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    before = world.store.objects()
    savepoint = world.session.connection().begin_nested()
    act(saved)
    world.session.flush()
    savepoint.rollback()
    world.session.expire_all()
    world.session.commit()
    assert before <= world.store.objects()
    assert saved.untouched()
    for backend, path in world.store.objects() - before:  # nobody knows which rows are gone, so a sweep has to find these
        world.sweep(backend, path)


def test_outer_connection_savepoint_rollback_leaves_nothing(world: World) -> None:
    saved = SavedRow(world)
    savepoint = world.session.connection().begin_nested()
    saved.replace()
    world.session.flush()
    savepoint.rollback()
    world.session.rollback()
    assert saved.untouched()


@each_action
def test_released_savepoint_of_the_connection_changes_nothing(world: World, act: Callable[[SavedRow], None]) -> None:
    saved = SavedRow(world)
    with world.session.connection().begin_nested():
        act(saved)
        world.session.flush()
    world.session.commit()
    assert not saved.untouched()


def test_connection_committed_unnoticed_loses_no_bytes(world: World) -> None:
    world.session.add(Document(file=world.file()))
    world.session.flush()
    world.session.connection().commit()
    world.session.close()
    assert world.count() == 1
