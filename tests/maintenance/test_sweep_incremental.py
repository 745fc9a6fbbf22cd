"""A sweep costs what was uploaded since the last one: it lists from there on, and may be interrupted anywhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from filerow import storages
from filerow.backends.base import Unfinished
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import StorageError
from filerow.maintenance import Progress, sweep
from filerow.outbox import outbox_of
from tests.maintenance.place import DAY, HOUR, Place, document, findings, old_path, reported
from tests.places import know_places
from tests.servers._s3 import S3Server
from tests.servers.counting import CountingProxy

WIDE = {"delete": True, "allow_many": True}
ONE: dict[str, Any] = {**WIDE, "columns": ["document.file"]}


def done(steps: list[Progress] | Iterator[Progress]) -> int:
    """Return how many objects were listed."""
    return sum({progress.step: progress.done for progress in steps}.values())


def remembered(place: Place, name: str = "sweep:docs:document/file") -> dict[str, Any]:
    outbox = outbox_of(place.metadata)
    assert outbox is not None
    with place.engine.begin() as connection:
        return outbox.read_state(connection, name) or {}


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_the_second_sweep_lists_only_what_came_since_the_first(place: Place) -> None:
    for age in (9, 8, 7, 6, 5):
        place.row("document.file", document(place.put(old_path(age=age * DAY))))
    assert done(sweep(place.metadata, place.engine, **ONE)) == 5
    young = [place.put(old_path(age=age * HOUR), age=age * HOUR) for age in (20, 10)]
    assert done(sweep(place.metadata, place.engine, batch=1, **ONE)) == 1  # the first one that is too young ends the listing
    assert reported(sweep(place.metadata, place.engine, grace=timedelta(hours=15), **ONE), "orphan") == {young[0]}
    assert reported(sweep(place.metadata, place.engine, grace=timedelta(hours=5), **ONE), "orphan") == {young[1]}
    assert done(sweep(place.metadata, place.engine, full=True, **ONE)) == 5


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_a_dry_run_does_not_move_the_starting_point(place: Place) -> None:
    place.put(old_path())
    for _ in range(2):
        assert done(sweep(place.metadata, place.engine, columns=["document.file"])) == 1
    assert remembered(place) == {}


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_object_too_young_by_the_store_s_clock_is_judged_later(place: Place) -> None:
    slow = place.put(old_path(age=40 * HOUR), age=23 * HOUR)  # an upload of 17 hours
    assert not reported(sweep(place.metadata, place.engine, **ONE), "orphan")
    assert reported(sweep(place.metadata, place.engine, grace=timedelta(hours=22), **ONE), "orphan") == {slow}


def test_a_file_remembers_for_those_without_an_outbox(place: Place, tmp_path: Path) -> None:
    state = tmp_path / "sweep.json"
    for _ in range(3):
        place.row("document.file", document(place.put(old_path(age=9 * DAY))))
    assert done(sweep(place.metadata, place.engine, state=state, **ONE)) == 3
    assert done(sweep(place.metadata, place.engine, state=state, **ONE)) == 0
    assert done(sweep(place.metadata, place.engine, **ONE)) == 3  # remembers nothing, so every sweep is full
    # Only a full sweep finds what could not be deleted when its row went; so there is one a week.
    known = json.loads(state.read_text())
    known["sweep:docs:document/file"]["full_at"] -= 7 * DAY + 1
    state.write_text(json.dumps(known))
    assert done(sweep(place.metadata, place.engine, state=state, full_every=timedelta.max, **ONE)) == 0
    assert done(sweep(place.metadata, place.engine, state=state, **ONE)) == 3
    assert done(sweep(place.metadata, place.engine, state=state, **ONE)) == 0
    assert [path.name for path in tmp_path.iterdir() if "sweep" in path.name] == ["sweep.json"]


@pytest.mark.parametrize("content", ["", '{"half', "[1]", '"text"', '{"sweep:docs:document/file": 5}', "\xff\xfe"])
def test_file_that_is_not_a_sweep_state_is_reported_and_kept(place: Place, tmp_path: Path, content: str) -> None:
    state = tmp_path / "notes.json"
    state.write_text(content, "latin-1")
    with pytest.raises(ValueError, match=r"notes\.json was not written by a sweep; name another"):
        list(sweep(place.metadata, place.engine, state=state, **ONE))
    assert state.read_text("latin-1") == content


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
@pytest.mark.parametrize("stop", [1, 9, 10, 11, 13])
def test_sweep_interrupted_anywhere_continues_and_loses_nothing(place: Place, stop: int) -> None:
    orphans, kept = set(), set()
    for number in range(24):
        path = place.put(old_path(age=(30 - number) * DAY))
        if number % 3:
            kept.add(path)
            place.row("document.file", document(path))
        else:
            orphans.add(path)
    steps = sweep(place.metadata, place.engine, batch=2, **ONE)
    for _ in range(stop):
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert (place.paths() >= orphans) is (stop < 10)  # after ten pages what was found goes
    list(sweep(place.metadata, place.engine, batch=2, **ONE))
    assert place.paths() == kept
    assert remembered(place).keys() == {"until", "full_at"}


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_interrupted_sweep_does_not_start_again(place: Place) -> None:
    for number in range(30):
        place.row("document.file", document(place.put(old_path(age=(40 - number) * DAY))))
    steps = sweep(place.metadata, place.engine, batch=2, **ONE)
    for _ in range(10):
        next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert done(sweep(place.metadata, place.engine, batch=2, **ONE)) == 10


def bucket(place: Place, server: S3Server, endpoint: str) -> tuple[ObstoreBackend, str]:
    """Put the column's files into a bucket, asked through another endpoint."""
    prefix = server.make_prefix()
    storages.unregister_backend("docs")
    backend = ObstoreBackend(
        "docs",
        f"s3://{server.shared_bucket}/{prefix}",
        aws_endpoint=endpoint,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
    )
    storages.register_backend(backend)
    know_places(place.metadata, place.engine, ["docs"])
    return backend, prefix


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_incremental_sweep_on_s3_lists_new_objects_only(place: Place, s3_server: S3Server) -> None:
    with CountingProxy(s3_server.endpoint) as proxy:
        backend, _ = bucket(place, s3_server, proxy.endpoint)
        for number in range(40):
            backend.put(path := old_path(age=(50 - number) * DAY), b"x")
            place.row("document.file", document(path))
        options = {**ONE, "grace": timedelta(0)}
        assert done(sweep(place.metadata, place.engine, **options)) == 40
        orphans = {old_path(age=0) for _ in range(3)}  # uploaded after the first sweep
        for path in orphans:
            backend.put(path, b"x")
        with proxy.record() as requests:
            steps = list(sweep(place.metadata, place.engine, **options))
        assert reported(steps, "orphan") == orphans
        assert done(steps) == 3
        listings = [request for request in requests if request.method == "GET" and "list-type=2" in request.query]
        assert len(listings) == 1
        assert "start-after=" in listings[0].query
        assert len(requests) == 5  # the record, read and written; the objects, the uploads that never ended, one bulk delete


@pytest.mark.parametrize("through", ["obstore", "s3fs"])
@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_unfinished_multipart_uploads_of_ours_alone_are_aborted(place: Place, s3_server: S3Server, through: str) -> None:
    _, prefix = bucket(place, s3_server, s3_server.endpoint)
    if through == "s3fs":
        storages.unregister_backend("docs")
        keys = {"key": s3_server.access_key, "secret": s3_server.secret_key, "endpoint_url": s3_server.endpoint}
        url = f"s3://{s3_server.shared_bucket}/{prefix}".rstrip("/")
        storages.register_backend(FSSpecBackend("docs", url, storage_options=keys, skip_instance_cache=True))
    names = {"ours": old_path(), "young": old_path(age=-HOUR), "foreign": "document/file/big.iso", "near": old_path("document2")}
    begun = {
        name: s3_server.client.create_multipart_upload(Bucket=s3_server.shared_bucket, Key=f"{prefix}{path}")["UploadId"]
        for name, path in names.items()
    }
    options = {"columns": ["document.file"], "grace": timedelta(0)}
    assert reported(sweep(place.metadata, place.engine, **options), "unfinished-upload") == {names["ours"]}
    steps = list(sweep(place.metadata, place.engine, delete=True, **options))
    assert [(f.path, f.fixed) for f in findings(steps) if f.code == "unfinished-upload"] == [(names["ours"], True)]
    left = s3_server.client.list_multipart_uploads(Bucket=s3_server.shared_bucket, Prefix=prefix).get("Uploads", ())
    assert {upload["UploadId"] for upload in left} == set(begun.values()) - {begun["ours"]}
    storages.get_backend("docs").abort(Unfinished(names["ours"], begun["ours"], 0.0))  # one that has ended is left alone


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_an_upload_that_goes_on_is_waited_for(place: Place, s3_server: S3Server) -> None:
    """It may end after the sweep, under a path of before."""
    _, prefix = bucket(place, s3_server, s3_server.endpoint)
    path = old_path(age=30 * HOUR)
    where = {"Bucket": s3_server.shared_bucket, "Key": f"{prefix}{path}"}
    upload = s3_server.client.create_multipart_upload(**where)["UploadId"]
    list(sweep(place.metadata, place.engine, **ONE))
    part = s3_server.client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3_server.client.complete_multipart_upload(**where, UploadId=upload, MultipartUpload=parts)
    assert done(sweep(place.metadata, place.engine, **ONE)) == 1


class StuckUploads(MemoryBackend):
    """A store with an upload that never ended, and that cannot be asked or rid of it."""

    refused: set[str] = set()

    def _unfinished(self, prefix: str) -> Iterator[Unfinished]:
        if "ask" in self.refused:
            msg = "not today"
            raise StorageError(msg, operation="list", backend=self.key)
        if prefix == "document/file":
            yield Unfinished(f"{prefix}/{TOKEN}", "an upload", 1.0)

    def _abort(self, upload: Unfinished) -> None:
        if "abort" in self.refused:
            msg = "not mine"
            raise StorageError(msg, operation="delete", backend=self.key, path=upload.path)


TOKEN = old_path(age=9 * DAY).rpartition("/")[2]


@pytest.mark.parametrize(
    ("refused", "level", "fixed", "says"),
    [
        ("", "warning", True, "never ended"),
        ("abort", "error", False, "could not be aborted"),
        ("ask", "warning", False, "not today"),
    ],
)
def test_upload_that_cannot_be_aborted_or_found_is_reported(
    place: Place, monkeypatch: pytest.MonkeyPatch, refused: str, level: str, says: str, fixed: bool
) -> None:
    storages.unregister_backend("docs")
    storages.register_backend(StuckUploads("docs"))
    monkeypatch.setattr(StuckUploads, "refused", {refused})
    found = findings(sweep(place.metadata, place.engine, **ONE))
    assert [(one.code, one.level, one.fixed) for one in found] == [("unfinished-upload", level, fixed)]
    assert says in found[0].message


# -- clocks that were wrong ------------------------------------------------------------------------------------------------


def test_a_fast_clock_makes_no_upload_old(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database's clock is asked as well."""
    young, old = place.put(old_path(age=HOUR), age=HOUR), place.put(old_path(age=30 * DAY))
    moment = time.time() + 365 * DAY
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: moment)
        assert reported(sweep(place.metadata, place.engine, **ONE), "orphan") == {old}
    assert young in place.paths()
    assert reported(sweep(place.metadata, place.engine, grace=timedelta(0), **ONE), "orphan") == {young}


@pytest.mark.parametrize("where", ["judged", "interrupted"])
def test_what_a_fast_clock_remembered_is_forgotten(place: Place, tmp_path: Path, where: str) -> None:
    state = tmp_path / "sweep.json"
    later = time.time() + 365 * DAY
    run = {"after": "", "until": later, "low": later, "full": True}
    known = {"until": later, "full_at": later} if where == "judged" else {"full_at": 0, "run": run}
    state.write_text(json.dumps({"sweep:docs:document/file": known}))
    young, old = place.put(old_path(age=HOUR), age=HOUR), place.put(old_path(age=30 * DAY))
    assert reported(sweep(place.metadata, place.engine, state=state, **ONE), "orphan") == {old}
    assert young in place.paths()
    assert reported(sweep(place.metadata, place.engine, state=state, grace=timedelta(0), **ONE), "orphan") == {young}


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_a_longer_grace_period_holds_for_an_interrupted_sweep(place: Place) -> None:
    for age in range(20, 0, -1):
        place.put(old_path(age=age * 1800), age=age * 1800)
    steps = sweep(place.metadata, place.engine, grace=timedelta(0), batch=1, **ONE)
    for _ in range(13):  # ten objects are removed at a time here
        next(steps)
    del steps
    there = place.paths()
    assert "run" in remembered(place)
    list(sweep(place.metadata, place.engine, **ONE))
    assert place.paths() == there
