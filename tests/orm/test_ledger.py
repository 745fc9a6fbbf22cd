"""What a transaction has stored and dropped, frame by frame: no session, no store."""

from __future__ import annotations

from filerow import FileObject
from filerow._file.object import FileState, complete, facts_of, snapshot
from filerow._orm.ledger import Frame, Ledger, Report
from filerow._orm.ownership import Ref
from filerow.variants import Thumbnail

A, B, C = (Ref("docs", path) for path in ("a", "b", "c"))
SMALL, LARGE = (("small", Thumbnail(8, 8)),), (("large", Thumbnail(80, 80)),)
OUTER, INNER, INNERMOST = "outer", "inner", "innermost"


class Drainer:
    """A drainer that does nothing."""

    def wake(self) -> None:
        """Nothing waits here."""


def frames() -> tuple[Ledger, Frame, Frame]:
    """Return a ledger with a transaction and a savepoint in it."""
    ledger = Ledger()
    inner = ledger.frame([OUTER, INNER])
    return ledger, ledger.frame([OUTER]), inner


# -- one frame -------------------------------------------------------------------------------------------------------------


def test_a_dropped_object_is_doomed_until_it_has_an_owner_again() -> None:
    frame = Frame()
    frame.drop(A)
    frame.drop(B)
    assert list(frame.doomed) == [A, B]
    frame.restore(A)
    assert list(frame.doomed) == [B]
    assert not frame.restored, "this scope had dropped it: nothing is left to pass to the outer one"


def test_what_an_outbox_looks_after_is_not_doomed() -> None:
    frame, one, other = Frame(), Drainer(), Drainer()
    frame.drop(A, one)
    frame.drop(B)
    frame.drop(C, other)
    frame.drop(Ref("docs", "d"), one)
    assert list(frame.doomed) == [B]
    assert frame.keepers == [one, other]
    frame.drop(B, other)
    assert list(frame.doomed) == []


def test_objects_are_deleted_with_the_variants_of_all_their_columns() -> None:
    frame = Frame()
    frame.drop(A)
    assert frame.doomed == {A: ()}
    frame.declare(A, SMALL)
    frame.declare(A, (*LARGE, *SMALL))
    frame.drop(B)
    assert frame.doomed == {A: (*SMALL, *LARGE), B: ()}
    frame.stored[A] = frame.stored[C] = None
    assert frame.revert() == {A: (*SMALL, *LARGE), C: ()}


def test_a_report_has_no_file_that_was_not_loaded() -> None:
    new = [FileObject(content=b"1")]
    report = Report("slot", [A], new)
    assert (report.slot, report.old, report.new, report.known) == ("slot", [A], new, ())


def test_frame_that_only_drops_has_no_keepers() -> None:
    frame = Frame()
    frame.drop(A)
    assert frame.keepers == []


def test_an_undone_frame_makes_its_files_what_they_were_at_first() -> None:
    frame = Frame()
    file = FileObject(filename="cat.png", content=b"cat")
    for path in ("first", "second"):
        frame.touched.append((file, snapshot(file)))
        complete(file, facts_of(file)._replace(backend="docs", path=path), FileState.ATTACHED)
    assert file.path == "second"
    frame.stored.update({A: None, B: None})
    frame.drop(C)
    assert list(frame.revert()) == [A, B], "what it dropped has its row back"
    assert file.state is FileState.PENDING
    assert facts_of(file).path == ""


# -- a savepoint and its parent --------------------------------------------------------------------------------------------


def test_undo_runs_backwards_through_released_savepoints_too() -> None:
    outer, inner, undone = Frame(), Frame(), []
    outer.undo.append(lambda: undone.append("first"))
    inner.undo.append(lambda: undone.append("second"))
    inner.undo.append(lambda: undone.append("third"))
    outer.absorb(inner)
    assert undone == []
    outer.revert()
    assert undone == ["third", "second", "first"]


def test_a_released_savepoint_hands_on_all_it_has_done() -> None:
    ledger, outer, inner = frames()
    before, after = FileObject(content=b"1"), FileObject(content=b"2")
    outer.touched.append((before, snapshot(before)))
    outer.stored[A] = None
    inner.touched.append((after, snapshot(after)))
    inner.stored[B] = None
    keeper = Drainer()
    inner.drop(C, keeper)
    ledger.release(INNER, OUTER)
    assert ledger.take(INNER) is None
    assert list(outer.stored) == [A, B]
    assert outer.dropped == {C: keeper}
    assert [file for file, _ in outer.touched] == [before, after]


def test_released_savepoint_hands_on_uploads_reports_and_variants() -> None:
    ledger, outer, inner = frames()
    first, second = (Report(name, old=[A], new=[FileObject(content=b"1")]) for name in ("first", "second"))
    outer.uploads[A], outer.reports[:] = "1", [first]
    outer.declare(A, SMALL)
    inner.uploads[B], inner.reports[:] = None, [second]
    inner.declare(A, LARGE)
    inner.declare(B, SMALL)
    ledger.release(INNER, OUTER)
    assert outer.uploads == {A: "1", B: None}
    assert outer.reports == [first, second]
    assert outer.variants == {A: (*SMALL, *LARGE), B: SMALL}


def test_file_taken_back_in_a_released_savepoint_is_not_dropped() -> None:
    ledger, outer, inner = frames()
    outer.drop(A)
    inner.restore(A)
    assert list(outer.doomed) == [A], "the savepoint may still be rolled back"
    ledger.release(INNER, OUTER)
    assert list(outer.doomed) == []


def test_what_two_savepoints_take_back_reaches_the_outermost() -> None:
    ledger = Ledger()
    outer, _, innermost = ledger.frame([OUTER]), ledger.frame([OUTER, INNER]), ledger.frame([OUTER, INNER, INNERMOST])
    outer.drop(A)
    innermost.restore(A)
    ledger.release(INNERMOST, INNER)
    assert not ledger.is_dropped(A)
    assert list(outer.doomed) == [A]
    ledger.release(INNER, OUTER)
    assert list(outer.doomed) == []


def test_file_a_savepoint_takes_back_and_drops_stays_dropped() -> None:
    ledger, outer, inner = frames()
    outer.drop(A)
    inner.restore(A)
    inner.drop(A)
    assert ledger.is_dropped(A)
    ledger.release(INNER, OUTER)
    assert list(outer.doomed) == [A]


def test_savepoint_that_restores_a_file_twice_drops_nothing() -> None:
    ledger, outer, inner = frames()
    outer.drop(A)
    inner.restore(A)
    inner.drop(A)
    inner.restore(A)
    assert not ledger.is_dropped(A)
    ledger.release(INNER, OUTER)
    assert list(outer.doomed) == []


def test_nested_savepoints_that_take_back_and_drop_agree() -> None:
    ledger, outer, inner = frames()
    outer.drop(A)
    for act in (Frame.restore, Frame.drop, Frame.restore):
        act(ledger.frame([OUTER, INNER, INNERMOST]), A)
        ledger.release(INNERMOST, INNER)
    assert not ledger.is_dropped(A)
    assert list(outer.doomed) == [A]
    ledger.release(INNER, OUTER)
    assert list(outer.doomed) == []
    assert ledger.frame([OUTER]) is outer
    assert inner.dropped == {}


def test_what_a_savepoint_drops_and_takes_back_is_as_before() -> None:
    ledger, outer, inner = frames()
    inner.drop(A)
    inner.restore(A)
    ledger.release(INNER, OUTER)
    assert (outer.dropped, outer.restored) == ({}, {})


def test_a_savepoint_that_did_nothing_leaves_no_frame() -> None:
    ledger = Ledger()
    ledger.release(INNER, OUTER)
    assert not ledger
    assert ledger.take(OUTER) is None


def test_a_savepoint_may_be_the_first_to_do_anything() -> None:
    ledger = Ledger()
    ledger.frame([INNER]).stored[A] = None
    ledger.release(INNER, OUTER)
    frame = ledger.take(OUTER)
    assert frame is not None
    assert list(frame.stored) == [A]
    assert not ledger


# -- the frames of a session -----------------------------------------------------------------------------------------------


def test_chain_names_the_innermost_frame_and_makes_outer_ones() -> None:
    ledger = Ledger()
    assert not ledger
    innermost = ledger.frame([OUTER, INNER, INNERMOST])
    assert ledger
    inner, outer = ledger.frame([OUTER, INNER]), ledger.frame([OUTER])
    assert len({id(frame) for frame in (outer, inner, innermost)}) == 3
    assert ledger.frame([OUTER, INNER, INNERMOST]) is innermost
    assert [ledger.take(key) for key in (OUTER, INNER, INNERMOST, OUTER)] == [outer, inner, innermost, None]


def test_innermost_decision_says_whether_an_object_is_dropped() -> None:
    ledger, outer, inner = frames()
    assert not ledger.is_dropped(A)
    outer.drop(A)
    assert ledger.is_dropped(A)
    inner.restore(A)
    assert not ledger.is_dropped(A)
    inner.drop(B)
    assert ledger.is_dropped(B)
    inner.restore(C)
    assert not ledger.is_dropped(C)


def test_drop_is_void_once_its_savepoint_is_undone() -> None:
    ledger, _, inner = frames()
    inner.drop(A)
    assert ledger.take(INNER) is inner
    assert not ledger.is_dropped(A)


def test_whoever_takes_all_takes_one_frame_and_leaves_none() -> None:
    ledger = Ledger()
    assert ledger.take_all() is None
    innermost = ledger.frame([OUTER, INNER, INNERMOST])
    inner, outer = ledger.frame([OUTER, INNER]), ledger.frame([OUTER])
    assert ledger.chain == [OUTER, INNER, INNERMOST]
    outer.drop(A)
    inner.restore(A)
    innermost.stored[B] = inner.stored[C] = None
    assert ledger.take_all() is outer
    assert not ledger
    assert ledger.chain == []
    assert (list(outer.stored), outer.dropped) == ([C, B], {})


def test_a_frame_alone_is_taken_as_it_is() -> None:
    ledger = Ledger()
    alone = ledger.frame([OUTER])
    alone.stored[A] = None
    assert ledger.take_all() is alone
    assert list(alone.stored) == [A]
