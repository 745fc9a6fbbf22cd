"""Who owns which object after a flush, decided from values alone: no session, no database, no store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from filerow import FileObject
from filerow._orm.ownership import Change, CopyTo, Plan, Ref, pending, plan

A, B, C = (Ref("docs", path) for path in ("a", "b", "c"))
ELSEWHERE = Ref("avatars", "a")


def pending_file() -> FileObject:
    return FileObject(filename="cat.png", content=b"new")


def staged(ref: Ref) -> FileObject:
    """Return a file that is stored and belongs to no row."""
    return FileObject(ref.backend, to_filename=ref.path)


def attached(ref: Ref) -> FileObject:
    """Return a file that belongs to some row."""
    return FileObject.from_dict({"v": 1, "backend": ref.backend, "path": ref.path, "filename": "cat.png"})


def slot(name: str, *new: FileObject, backend: str = "docs", **others: Any) -> Change:
    return Change(name, new, backend=backend, **others)


def decided(*changes: Change, fresh: Sequence[Ref] = (), dropped: Sequence[Ref] = ()) -> Plan:
    return plan(changes, set(fresh), lambda ref: ref in dropped)


def shown(result: Plan) -> dict[str, list[tuple[object, ...]]]:
    """Return a plan with the names of slots and the paths of objects; an empty part is left out."""
    parts: dict[str, list[tuple[object, ...]]] = {
        "adopt": [(one.change.slot, one.file.path) for one in result.adopt],
        "move": [(one.change.slot, one.file.path) for one in result.move],
        "copy": [(one.change.slot, one.position, one.file.path) for one in result.copy],
        "drop": [tuple(one) for one in result.drop],
    }
    return {name: part for name, part in parts.items() if part}


# -- what is stored --------------------------------------------------------------------------------------------------------


def test_each_pending_file_is_stored_for_its_slot() -> None:
    one, two, three = pending_file(), pending_file(), pending_file()
    first, second = slot("1", one, two), slot("2", three)
    assert [(store.change, store.file) for store in pending([first, second])] == [(first, one), (first, two), (second, three)]


def test_pending_file_of_two_slots_is_stored_once() -> None:
    file = pending_file()
    first, second = slot("1", file, file), slot("2", file)
    (store,) = pending([first, second])
    assert store.change is first
    assert store.file is file


def test_what_is_stored_is_not_stored_again() -> None:
    assert pending([slot("1", staged(A), attached(B))]) == []


# -- one slot --------------------------------------------------------------------------------------------------------------


def test_a_stored_upload_gets_the_slot_as_its_owner() -> None:
    assert shown(decided(slot("1", attached(A)), fresh=[A])) == {"adopt": [("1", "a")]}


def test_a_staged_file_gets_the_slot_as_its_owner() -> None:
    assert shown(decided(slot("1", staged(A)))) == {"adopt": [("1", "a")]}


def test_a_replaced_file_is_dropped() -> None:
    result = decided(slot("1", staged(B), old=[A]), fresh=[B])
    assert shown(result) == {"adopt": [("1", "b")], "drop": [A]}
    assert result.drop == [A]


def test_a_file_set_again_stays_where_it_is() -> None:
    assert shown(decided(slot("1", attached(A), old=[A]))) == {}
    assert shown(decided(slot("1", staged(A), old=[A]), fresh=[A], dropped=[A])) == {}


def test_cleared_slot_drops_each_of_its_files_once_in_order() -> None:
    assert shown(decided(slot("1", old=[C, A, C, B]), slot("2", old=[B]))) == {"drop": [C, A, B]}


def test_an_edited_list_keeps_adopts_and_drops_what_it_must() -> None:
    assert shown(decided(slot("1", attached(C), staged(B), old=[A, C]))) == {"adopt": [("1", "b")], "drop": [A]}


def test_a_file_twice_in_one_list_is_copied_the_second_time() -> None:
    file, last = staged(A), staged(B)
    result = decided(slot("1", file, file, last))
    assert shown(result) == {"adopt": [("1", "a"), ("1", "b")], "copy": [("1", 1, "a")]}
    assert shown(decided(slot("1", file, last, file, old=[A]))) == {"adopt": [("1", "b")], "copy": [("1", 2, "a")]}


def test_a_copy_knows_its_change_and_the_very_file() -> None:
    change = slot("1", staged(B), attached(A))
    (copy,) = decided(change).copy
    assert copy == CopyTo(change, 1, change.new[1])
    assert copy.file is change.new[1]


# -- several slots ---------------------------------------------------------------------------------------------------------


def test_a_file_that_another_row_owns_is_copied() -> None:
    assert shown(decided(slot("2", attached(A)))) == {"copy": [("2", 0, "a")]}


@pytest.mark.parametrize(("keeper", "other"), [("1", "2"), ("2", "1")])
def test_a_file_that_its_row_keeps_is_copied_for_any_other(keeper: str, other: str) -> None:
    kept, wanted = slot(keeper, attached(A), old=[A]), slot(other, attached(A))
    for changes in ((kept, wanted), (wanted, kept)):
        assert shown(decided(*changes)) == {"copy": [(other, 0, "a")]}


def test_a_file_that_its_row_lets_go_moves_to_the_other() -> None:
    file = attached(A)
    assert shown(decided(slot("1", old=[A]), slot("2", file))) == {"move": [("2", "a")]}
    assert shown(decided(slot("2", file), slot("1", old=[A]))) == {"move": [("2", "a")]}


def test_two_rows_swap_their_files_and_nothing_is_dropped() -> None:
    result = decided(slot("1", attached(B), old=[A]), slot("2", attached(A), old=[B]))
    assert shown(result) == {"move": [("1", "b"), ("2", "a")]}


def test_a_file_that_two_rows_want_moves_to_the_first() -> None:
    file = attached(A)
    result = decided(slot("1", old=[A]), slot("2", file), slot("3", file))
    assert shown(result) == {"move": [("2", "a")], "copy": [("3", 0, "a")]}


@pytest.mark.parametrize("fresh", [[A], []], ids=["uploaded now", "staged"])
def test_a_new_file_that_two_rows_want_belongs_to_the_first(fresh: list[Ref]) -> None:
    file = staged(A)
    assert shown(decided(slot("1", file), slot("2", file), fresh=fresh)) == {"adopt": [("1", "a")], "copy": [("2", 0, "a")]}


def test_file_dropped_earlier_in_the_transaction_is_restored() -> None:
    assert shown(decided(slot("2", attached(A)), dropped=[A])) == {"move": [("2", "a")]}
    assert shown(decided(slot("2", attached(A)), dropped=[B])) == {"copy": [("2", 0, "a")]}


# -- the column's backend --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [staged(ELSEWHERE), attached(ELSEWHERE)], ids=["staged", "attached"])
def test_a_file_of_another_backend_is_copied_into_the_column_s(file: FileObject) -> None:
    assert shown(decided(slot("1", file))) == {"copy": [("1", 0, "a")]}


def test_file_moved_to_another_backend_is_copied_and_old_dropped() -> None:
    result = decided(slot("1", old=[ELSEWHERE], backend="avatars"), slot("2", attached(ELSEWHERE)))
    assert shown(result) == {"copy": [("2", 0, "a")], "drop": [ELSEWHERE]}
    assert shown(decided(slot("2", attached(ELSEWHERE)), dropped=[ELSEWHERE])) == {"copy": [("2", 0, "a")]}


def test_a_column_without_a_backend_takes_files_of_any() -> None:
    assert shown(decided(slot("1", staged(ELSEWHERE), backend=""))) == {"adopt": [("1", "a")]}


def test_file_stored_by_this_flush_is_never_copied() -> None:
    assert shown(decided(slot("1", staged(ELSEWHERE)), fresh=[ELSEWHERE])) == {"adopt": [("1", "a")]}


def test_backends_are_compared_by_their_names() -> None:
    key = bytearray(b"docs").decode()  # equal to A's, and another object
    assert shown(decided(slot("1", staged(A), backend=key))) == {"adopt": [("1", "a")]}
    for before, after in (("avatars", "docs"), ("docs", "avatars")):
        assert shown(decided(slot("1", staged(Ref(before, "x")), backend=after))) == {"copy": [("1", 0, "x")]}


# -- columns that are not ours ---------------------------------------------------------------------------------------------


def test_a_column_without_lifecycle_is_left_alone() -> None:
    assert shown(decided(slot("1", staged(B), attached(C), old=[A], owned=False))) == {}


def test_column_without_lifecycle_keeps_and_releases_nothing() -> None:
    unmanaged = slot("1", attached(A), old=[A], owned=False)
    assert shown(decided(unmanaged, slot("2", old=[A]))) == {"drop": [A]}
    assert shown(decided(slot("1", old=[A], owned=False), slot("2", attached(A)))) == {"copy": [("2", 0, "a")]}


# -- edited lists ----------------------------------------------------------------------------------------------------------


def test_what_an_edited_list_began_with_decides_nothing() -> None:
    """It is for whoever merges two edits of a list; here the row has been read again."""
    new = attached(A), staged(B)
    assigned, edited = slot("1", *new, old=[A, C]), slot("1", *new, old=[A, C], base=[attached(A), attached(C)])
    assert assigned.base is None
    assert shown(decided(edited)) == shown(decided(assigned)) == {"adopt": [("1", "b")], "drop": [("docs", "c")]}
