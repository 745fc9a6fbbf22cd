"""A sweep removes what no row owns, and nothing else: not what is young, not what is somebody else's."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete

from filerow import FileObject, storages
from filerow.backends.base import ObjectInfo
from filerow.backends.memory import MemoryBackend
from filerow.maintenance import Progress, sweep, sweep_async
from tests.maintenance.place import DAY, HOUR, Place, document, findings, old_path, reported

NO_GRACE = timedelta(0)
CASES = [
    ("sqlite", "local", "blocking"),
    ("sqlite", "s3", "async"),
    ("postgresql", "local", "async"),
    ("postgresql", "s3", "blocking"),
    ("mariadb", "local", "blocking"),
]


def orphans_of(place: Place) -> set[str]:
    """Make one orphan of each kind."""
    return {
        place.put(old_path()),  # a crash between upload and COMMIT
        place.put(old_path("document", "pages", extension="")),  # the temporary object of a large upload
        *(place.put(old_path("spread", "file", shards=4)) for _ in range(5)),
        place.put(old_path("elsewhere"), "other"),
        place.put(old_path("staged", "files")),  # saved, and never assigned
        place.put(old_path("staged", "copies"), "other"),
        place.put(old_path("own", "file")),  # a client's upload that was never claimed
    }


def survivors_of(place: Place) -> set[str]:
    """Make one object of each kind that must stay, with and without rows."""
    token = old_path().rpartition("/")[2]
    owned = [old_path() for _ in range(3)]
    place.row("document.file", document(owned[0]))
    place.row("document.pages", [document(owned[1]), document(owned[2])])
    place.row("document.file", {"backend": "docs", "filename": "legacy/cat.png"})
    moved, staged = old_path("elsewhere"), old_path("staged", "files")
    place.row("document.file", document(moved))
    place.row("document.file", document(staged))
    shard = old_path("spread", shards=4)
    place.row("spread.file", document(shard))
    away = old_path("elsewhere")
    place.row("elsewhere.file", document(away, "other"))
    foreign = [
        f"document2/file/{token}",
        f"document/file2/{token}",
        f"doc/file/{token}",
        f"backup/document/file/{token}",
        f"document/file/archive/{token}",
        "document/file/019b0000beef4abc8def0123456789ab.png",
        "document/file/readme.txt",
        f"kept/file/{token}",  # lifecycle=False: the application looks after it
        "chosen/by/path.png",
        "staged/notes.txt",
        token,
    ]
    shards = old_path("spread", shards=4).split("/")
    wrong_shard = f"spread/file/{int(shards[2], 16) ^ 1:x}/{shards[3]}"
    young = old_path(age=-HOUR)  # uploaded while the sweep runs
    here = {*owned, "legacy/cat.png", moved, staged, shard, *foreign, wrong_shard, young}
    return {*(place.put(path) for path in here), place.put(away, "other")}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("database", "store", "form"), CASES, indirect=["database", "store"])
def test_what_no_row_owns_goes_and_everything_else_stays(each_place: Place, form: str) -> None:
    place = each_place
    orphans, survivors = orphans_of(place), survivors_of(place)
    dry = list(sweep(place.metadata, place.engine, grace=NO_GRACE, batch=3))
    assert reported(dry, "orphan") == orphans
    assert place.paths() == orphans | survivors  # a dry run touches nothing
    last = {progress.step: progress for progress in dry}.values()
    assert (sum(one.changed for one in last), sum(one.would_change for one in last)) == (0, len(orphans))
    if form == "async":
        wet = place.in_a_loop(sweep_async, grace=NO_GRACE, delete=True, batch=3)
    else:
        wet = list(sweep(place.metadata, place.engine, grace=NO_GRACE, delete=True, batch=3))
    assert reported(wet, "orphan") == orphans
    assert all(finding.fixed for finding in findings(wet) if finding.code == "orphan")
    assert place.paths() == survivors
    assert sum({progress.step: progress.changed for progress in wet}.values()) == len(orphans)
    assert not reported(sweep(place.metadata, place.engine, grace=NO_GRACE, full=True), "orphan")


def test_an_inventory_takes_the_place_of_listing(place: Place, tmp_path: Path) -> None:
    orphans, survivors = orphans_of(place), survivors_of(place)
    with (tmp_path / "inventory.csv").open("w", newline="") as file:  # as stores write them: everything, in any order
        for key, path in sorted(place.store.objects(), key=lambda place: place[1][::-1]):
            csv.writer(file).writerow([key, path, 7, time.time() - 3 * DAY])
    place.put(unlisted := old_path())  # came after the inventory
    asked = []

    def inventory(backend: str, folder: str) -> Iterator[ObjectInfo]:
        asked.append((backend, folder))
        with (tmp_path / "inventory.csv").open(newline="") as file:
            for key, path, size, modified in csv.reader(file):
                if key == backend:
                    yield ObjectInfo(path, size=int(size), last_modified=float(modified))

    state = tmp_path / "state"
    steps = list(sweep(place.metadata, place.engine, grace=NO_GRACE, delete=True, batch=3, listing=inventory, state=state))
    assert reported(steps, "orphan") == orphans
    assert place.paths() == survivors | {unlisted}
    assert len(asked) == len(set(asked))
    assert ("docs", "document/file") in asked
    # nothing is remembered of it: the next sweep lists everything, and finds what no inventory knew
    assert reported(sweep(place.metadata, place.engine, grace=NO_GRACE, delete=True, state=state), "orphan") == {unlisted}


def test_only_objects_old_by_path_and_by_clock_are_touched(place: Place) -> None:
    old = place.put(old_path(age=25 * HOUR), age=25 * HOUR)
    place.put(old_path(age=23 * HOUR), age=25 * HOUR)
    place.put(old_path(age=25 * HOUR), age=23 * HOUR)  # its upload took two hours
    assert reported(sweep(place.metadata, place.engine), "orphan") == {old}
    assert len(reported(sweep(place.metadata, place.engine, grace=timedelta(hours=22)), "orphan")) == 3


def test_a_path_in_the_outbox_is_left_to_the_outbox(store: object, each_place: Place) -> None:
    place = each_place
    path = place.put(old_path())
    place.row("document.file", document(path))
    with place.engine.begin() as connection:
        connection.execute(delete(place.metadata.tables["document"]))  # the trigger writes a tombstone
    steps = list(sweep(place.metadata, place.engine, delete=True))
    assert not reported(steps, "orphan")
    assert place.paths() == {path}


def test_a_file_that_gets_its_row_while_the_sweep_runs_is_kept(place: Place) -> None:
    path = place.put(old_path("staged", "files"))
    steps: list[Progress] = []
    adopted = False
    for progress in sweep(place.metadata, place.engine, delete=True, columns=["staged"]):
        steps.append(progress)
        if progress.done and not adopted:  # found to have no row, and not deleted yet
            adopted = bool(place.row("document.file", document(path)))
    assert adopted
    assert not reported(steps, "orphan")
    assert place.paths() == {path}


def test_many_unreferenced_objects_are_deleted_only_if_allowed(place: Place) -> None:
    for _ in range(101):
        place.put(old_path())
    steps = list(sweep(place.metadata, place.engine, delete=True, batch=40))
    assert [finding.code for finding in findings(steps) if finding.level == "error"] == ["too-many-orphans"]
    assert len(place.paths()) == 101
    dry = list(sweep(place.metadata, place.engine, batch=40))
    assert len(reported(dry, "orphan")) == 101
    assert [finding.code for finding in findings(dry) if finding.level == "error"] == ["too-many-orphans"]
    list(sweep(place.metadata, place.engine, delete=True, allow_many=True))
    assert not place.paths()


def test_failed_delete_is_reported_and_retried_by_the_next_sweep(place: Place, tmp_path: Path) -> None:
    paths = {place.put(old_path(age=(20 - number) * DAY)) for number in range(12)}
    place.store.backends["docs"].failing = {"delete"}
    steps = list(sweep(place.metadata, place.engine, delete=True, state=tmp_path / "s", batch=1))
    assert reported(steps, "orphan") == paths
    assert {(finding.level, finding.fixed) for finding in findings(steps) if finding.code == "orphan"} == {("error", False)}
    place.store.backends["docs"].failing = set()
    assert reported(sweep(place.metadata, place.engine, delete=True, state=tmp_path / "s"), "orphan") == paths
    assert not place.paths()


def test_unlistable_backend_is_reported_and_the_others_are_swept(place: Place) -> None:
    path = place.put(old_path("elsewhere"), "other")
    storages.unregister_backend("docs")
    steps = list(sweep(place.metadata, place.engine, delete=True))
    assert {finding.backend for finding in findings(steps) if finding.code == "unreadable"} == {"docs"}
    assert reported(steps, "orphan") == {path}


def test_a_backend_of_former_times_is_swept_when_it_is_named(place: Place) -> None:
    path = place.put(old_path("document"), "other")
    place.row("document.file", document(kept := place.put(old_path("document"), "other"), "other"))
    assert not reported(sweep(place.metadata, place.engine), "orphan")
    assert reported(sweep(place.metadata, place.engine, backends=["other"], delete=True), "orphan") == {path}
    assert place.paths() == {kept}


def test_folders_of_former_names_are_swept_when_they_are_named(place: Place) -> None:
    """The table was called paper once, and had other columns; the files that rows name stay where they are."""
    orphans = [place.put(old_path("paper", "file")), place.put(old_path("paper", "scan"), "other")]
    sharded = place.put(old_path("paper", "many", shards=16))
    kept = [place.put(old_path("paper", "file")), place.put(old_path("paper", "file"))]
    place.row("document.file", document(kept[0]))
    place.row("document.pages", [document(kept[1])])
    young = place.put(old_path("paper", "file", age=0))
    assert not reported(sweep(place.metadata, place.engine, full=True), "orphan")
    named = ["paper/file", "paper/scan", "paper/many/16"]
    assert reported(sweep(place.metadata, place.engine, former=named, delete=True), "orphan") == {*orphans, sharded}
    assert place.paths() == {*kept, young}
    for wrong in ("paper", "paper.file", "paper/file/many", "/file"):
        with pytest.raises(ValueError, match=r"a former name \(--former\) is written"):
            sweep(place.metadata, place.engine, former=[wrong])


def test_only_the_named_columns_are_swept(place: Place) -> None:
    ours, pages, staged = (
        place.put(old_path(*where)) for where in (("document", "file"), ("document", "pages"), ("staged", "files"))
    )
    assert reported(sweep(place.metadata, place.engine, columns=["document.file"]), "orphan") == {ours}
    assert reported(sweep(place.metadata, place.engine, columns=["document.pages", "staged"]), "orphan") == {pages, staged}
    with pytest.raises(LookupError, match=r"no file column 'document\.fiel'"):
        sweep(place.metadata, place.engine, columns=["document.fiel"])


def test_workers_share_a_sweep_without_gaps_or_overlaps(place: Place) -> None:
    paths = {place.put(old_path("spread", shards=4)) for _ in range(60)} | {place.put(old_path())}
    found = [
        reported(sweep(place.metadata, place.engine, shards=f"{number}/3", allow_many=True), "orphan") for number in (1, 2, 3)
    ]
    assert set.union(*found) == paths
    assert sum(map(len, found)) == len(paths)
    assert all(found)
    assert reported(sweep(place.metadata, place.engine, shards=(2, 3), allow_many=True), "orphan") == found[1]
    for wrong in ("4/3", "0/3", "a", (1,), (3, 2)):
        with pytest.raises(ValueError, match=r"the third of eight"):
            sweep(place.metadata, place.engine, shards=wrong)  # type: ignore[arg-type]


def test_paths_that_a_column_chooses_are_reported_as_not_swept(place: Place) -> None:
    found = [finding for finding in findings(sweep(place.metadata, place.engine)) if finding.code == "custom-paths"]
    assert [(finding.where, finding.level) for finding in found] == [("own.file", "info")]


def test_options_that_make_no_sense_are_refused_at_once(place: Place) -> None:
    for wrong in ({"grace": timedelta(hours=-1)}, {"batch": 0}):
        with pytest.raises(ValueError, match=r"grace period must be 0 or more and its batch 1 or more"):
            sweep(place.metadata, place.engine, **wrong)  # type: ignore[arg-type]


def test_a_file_saved_on_its_own_goes_when_nobody_gave_it_a_row(place: Place) -> None:
    storages.set_default_backend("docs")
    file = FileObject(filename="cat.png", content=b"meow", backend="docs")
    file.save()
    assert place.paths() == {file.path}
    assert reported(sweep(place.metadata, place.engine), "orphan") == set()
    assert reported(sweep(place.metadata, place.engine, grace=NO_GRACE, delete=True), "orphan") == {file.path}
    assert not place.paths()


def test_remains_of_a_killed_upload_to_a_directory_are_swept(place: Place) -> None:
    root = place.store.backends["docs"].root
    place.put(old_path())
    draft = root / "document" / "file" / ".put#123456"
    young = root / "document" / "file" / ".put#654321"
    other = root / ".put#777"
    for path in (draft, young, other):
        path.write_bytes(b"half")
    os.utime(draft, (time.time() - 2 * DAY,) * 2)
    dry = reported(sweep(place.metadata, place.engine, columns=["document.file"]), "unfinished-upload")
    assert dry == {"document/file/.put#123456"}
    assert draft.exists()
    assert reported(sweep(place.metadata, place.engine, delete=True, allow_many=True), "unfinished-upload") == dry
    assert (draft.exists(), young.exists(), other.exists()) == (False, True, True)


def test_the_backends_without_such_uploads_have_none_to_report() -> None:
    assert list(MemoryBackend("m").unfinished("a")) == []
