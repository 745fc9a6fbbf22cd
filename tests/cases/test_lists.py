"""A list column and everything one can do to a list; no change in place is forgotten."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from filerow import FileObjectList
from filerow.exceptions import FileStateError
from tests.cases.models import Card, Document
from tests.cases.world import World

Edit = Callable[[World, FileObjectList], object]


def extend_by_operator(world: World, pages: FileObjectList) -> None:
    pages += [world.file(b"4"), world.file(b"5")]


EDITS: dict[str, tuple[Edit, list[bytes]]] = {
    "append": (lambda w, p: p.append(w.file(b"4")), [b"1", b"2", b"3", b"4"]),
    "insert": (lambda w, p: p.insert(1, w.file(b"4")), [b"1", b"4", b"2", b"3"]),
    "extend": (lambda w, p: p.extend([w.file(b"4"), w.file(b"5")]), [b"1", b"2", b"3", b"4", b"5"]),
    "extend_by_operator": (extend_by_operator, [b"1", b"2", b"3", b"4", b"5"]),
    "remove": (lambda w, p: p.remove(p[1]), [b"1", b"3"]),
    "pop": (lambda w, p: p.pop(), [b"1", b"2"]),
    "pop_first": (lambda w, p: p.pop(0), [b"2", b"3"]),
    "delete_item": (lambda w, p: p.__delitem__(0), [b"2", b"3"]),
    "delete_slice": (lambda w, p: p.__delitem__(slice(0, 2)), [b"3"]),
    "replace_item": (lambda w, p: p.__setitem__(0, w.file(b"4")), [b"4", b"2", b"3"]),
    "replace_slice": (lambda w, p: p.__setitem__(slice(0, 2), [w.file(b"4")]), [b"4", b"3"]),
    "replace_stepped_slice": (lambda w, p: p.__setitem__(slice(0, 3, 2), [w.file(b"4"), w.file(b"5")]), [b"4", b"2", b"5"]),
    "clear": (lambda w, p: p.clear(), []),
    "reverse": (lambda w, p: p.reverse(), [b"3", b"2", b"1"]),
    "sort": (lambda w, p: p.sort(key=w.stored, reverse=True), [b"3", b"2", b"1"]),
    "rotate": (lambda w, p: p.append(p.pop(0)), [b"2", b"3", b"1"]),
    "multiply": (lambda w, p: p.__imul__(2), [b"1", b"2", b"3"] * 2),
    "several": (lambda w, p: (p.pop(), p.append(w.file(b"4")), p.reverse(), p.pop()), [b"4", b"2"]),
}
each_edit = pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS)
START = [b"1", b"2", b"3"]


def row(world: World) -> Document:
    made: Document = world.add(pages=[world.file(content) for content in START])
    return made


@each_edit
def test_a_committed_change_is_kept(world: World, edit: Edit, expected: list[bytes]) -> None:
    document = row(world)
    edit(world, document.pages)  # the list is expired by the commit before
    world.session.commit()
    assert world.contents(document.pages) == expected
    assert world.count() == len(expected)


@each_edit
def test_a_change_that_is_rolled_back_is_gone(world: World, edit: Edit, expected: list[bytes]) -> None:
    document = row(world)
    edit(world, document.pages)
    world.session.flush()
    world.session.rollback()
    assert world.contents(document.pages) == START
    assert world.count() == 3


@each_edit
def test_a_change_in_a_second_flush_of_one_transaction_is_kept(world: World, edit: Edit, expected: list[bytes]) -> None:
    document = Document(pages=[world.file(content) for content in START])
    world.session.add(document)
    world.session.flush()
    pages = document.pages
    edit(world, pages)
    world.session.commit()
    assert world.contents(document.pages) == expected
    assert world.count() == len(expected)


@each_edit
def test_unflushed_change_that_is_rolled_back_costs_nothing(world: World, edit: Edit, expected: list[bytes]) -> None:
    document = row(world)
    edit(world, document.pages)
    world.session.rollback()
    assert world.contents(document.pages) == START


def test_a_list_reads_as_empty_when_nothing_was_ever_set(world: World) -> None:
    document = Document()
    assert document.pages == []
    document.pages.append(world.file(b"1"))
    world.session.add(document)
    world.session.commit()
    assert world.contents(document.pages) == [b"1"]


def test_a_list_set_to_none_reads_as_empty(world: World) -> None:
    document = row(world)
    document.pages = None  # type: ignore[assignment]
    world.session.commit()
    assert document.pages == []
    document.pages.append(world.file(b"1"))
    world.session.commit()
    assert world.contents(document.pages) == [b"1"]


def test_empty_list_stays_with_the_row_that_takes_over_a_key(world: World) -> None:
    session = world.open(expire_on_commit=False)
    first = Document(id=1, pages=[world.file(b"1")])
    session.add(first)
    session.commit()
    session.delete(first)
    second = Document(id=1, pages=[])
    pages = second.pages
    session.add(second)
    session.commit()
    assert second.pages is pages
    assert world.count() == 0
    pages.append(world.file(b"2"))
    session.commit()
    assert world.contents(second.pages) == [b"2"]


def test_a_change_after_the_list_was_copied_is_seen(world: World) -> None:
    document = Document(pages=[world.file(b"1")])
    document.pages.append(document.pages[0])  # becomes a copy in the flush
    world.session.add(document)
    world.session.flush()
    document.pages.append(world.file(b"2"))
    world.session.commit()
    assert world.contents(document.pages) == [b"1", b"1", b"2"]


def test_list_held_across_a_copy_in_the_flush_is_still_the_row_s(world: World) -> None:
    document = Document(pages=[world.file(b"1")])
    pages = document.pages
    pages.append(pages[0])
    world.session.add(document)
    world.session.flush()
    pages.append(world.file(b"2"))
    world.session.commit()
    assert world.contents(document.pages) == [b"1", b"1", b"2"]


def test_a_page_moves_to_the_list_of_another_row(world: World) -> None:
    first, second = row(world), world.add()
    second.pages.append(first.pages.pop())
    world.session.commit()
    assert world.contents(first.pages) == [b"1", b"2"]
    assert world.contents(second.pages) == [b"3"]
    assert world.count() == 3


def test_one_list_assigned_to_two_rows_is_copied(world: World) -> None:
    first = row(world)
    second = world.add(pages=first.pages)
    world.session.commit()
    world.check()
    second.pages.pop()
    world.session.commit()
    assert world.contents(first.pages) == START
    assert world.contents(second.pages) == [b"1", b"2"]


def by_columns(world: World, card: Card) -> Card:
    return Card(title="clone", file=card.file, front=card.front)


def by_dataclass(world: World, card: Card) -> Card:
    return dataclasses.replace(card, id=None, title="clone")


def by_assignment(world: World, card: Card) -> Card:
    clone = Card(title="clone", front=[world.file(b"old")])
    world.session.add(clone)
    world.session.flush()
    clone.front = card.front
    return clone


CLONES = {"columns": by_columns, "dataclass": by_dataclass, "assignment": by_assignment}


@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("clone", CLONES.values(), ids=CLONES)
def test_a_clone_has_a_list_of_its_own(world: World, clone: Callable[[World, Card], Card], flushed: bool) -> None:
    card = world.add(Card, front=[world.file(content) for content in START])
    pages = card.front
    twin = clone(world, card)
    assert card.front is pages
    assert twin.front is not pages
    if flushed:
        world.session.add(twin)
        world.session.flush()
    twin.front.pop()
    pages.append(world.file(b"4"))
    world.session.add(twin)
    world.session.commit()
    assert world.contents(card.front) == [*START, b"4"]
    assert world.contents(twin.front) == START[:2]


def test_a_clone_made_past_its_attributes_has_a_list_of_its_own(world: World) -> None:
    row = world.add(title="a", file=world.file(b"a"), pages=[world.file(b"1"), world.file(b"2")])
    world.session.refresh(row)
    clone = Document()
    clone.__dict__.update({name: value for name, value in row.__dict__.items() if name in {"title", "file", "pages"}})
    world.session.add(clone)
    world.session.commit()
    assert world.contents(row.pages) == world.contents(clone.pages) == [b"1", b"2"]
    clone.pages.pop()
    world.session.commit()
    assert world.contents(row.pages) == [b"1", b"2"]


def test_a_list_on_two_columns_of_one_row_is_two_lists(world: World) -> None:
    card = world.add(Card, front=[world.file(content) for content in START])
    card.back = card.front
    card.back.pop()
    card.front.append(world.file(b"4"))
    world.session.commit()
    assert world.contents(card.front) == [*START, b"4"]
    assert world.contents(card.back) == START[:2]


def test_two_rows_swap_their_lists(world: World) -> None:
    first, second = row(world), world.add(pages=[world.file(b"4")])
    paths = [page.path for page in first.pages]
    first.pages, second.pages = second.pages, first.pages
    first.pages.append(world.file(b"5"))
    world.session.commit()
    assert world.contents(first.pages) == [b"4", b"5"]
    assert [page.path for page in second.pages] == paths


def test_a_list_assigned_to_its_own_row_is_the_same_list(world: World) -> None:
    document = row(world)
    pages = document.pages
    document.pages = pages
    pages.append(world.file(b"4"))
    document.pages = document.pages
    assert document.pages is pages
    world.session.commit()
    assert world.contents(document.pages) == [*START, b"4"]


def test_a_list_that_left_its_row_is_the_next_row_s(world: World) -> None:
    document = row(world)
    pages = document.pages
    document.pages = []
    other = Document(pages=pages)
    assert other.pages is pages
    world.session.add(other)
    world.session.commit()
    assert world.contents(other.pages) == START
    assert world.count() == 3


def test_what_is_merged_from_a_cache_does_not_change_it(world: World) -> None:
    cached = row(world)
    world.session.refresh(cached)
    world.session.expunge(cached)
    merged = world.session.merge(cached, load=False)
    merged.pages.pop()
    world.session.rollback()
    assert len(cached.pages) == 3
    merged = world.session.merge(cached, load=False)
    merged.pages.append(world.file(b"4"))
    world.session.commit()
    assert world.contents(merged.pages) == [*START, b"4"]


def test_two_columns_edited_in_one_flush(world: World) -> None:
    document = world.add(file=world.file(b"f"), pages=[world.file(b"1")])
    document.pages.append(document.file)
    document.file = document.pages[0]
    del document.pages[0]
    world.session.commit()
    assert world.stored(document.file) == b"1"
    assert world.contents(document.pages) == [b"f"]
    assert world.count() == 2


def test_new_metadata_of_one_page_is_written(world: World) -> None:
    document = row(world)
    document.pages[1] = document.pages[1].replace(metadata={"n": 2})
    world.session.commit()
    assert document.pages[1].metadata == {"n": 2}
    assert world.contents(document.pages) == START


@pytest.mark.parametrize("read_again", [False, True])
def test_change_of_a_list_its_row_no_longer_holds_is_refused(world: World, read_again: bool) -> None:
    document = row(world)
    pages = document.pages
    world.session.commit()
    if read_again:
        assert len(document.pages) == 3
    with pytest.raises(FileStateError, match=r"change row\.pages itself"):
        pages.append(world.file())
    document.pages.append(world.file(b"4"))
    world.session.commit()
    assert world.contents(document.pages) == [*START, b"4"]


def test_a_list_that_was_replaced_is_free(world: World) -> None:
    document = row(world)
    pages = document.pages
    document.pages = [world.file(b"4")]
    pages.clear()
    world.session.commit()
    assert world.contents(document.pages) == [b"4"]
