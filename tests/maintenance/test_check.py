"""A check reports every row whose object is missing or differs from it, and repairs only what is certain."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, String, Table, insert, select, type_coerce, update

from filerow import StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.maintenance import Progress, check, check_async, migrate
from tests.maintenance.place import Place, document, findings, old_path, reported
from tests.servers._s3 import S3Server

CONTENT = b"content"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
CASES = [
    ("sqlite", "local", "blocking"),
    ("sqlite", "s3", "async"),
    ("postgresql", "local", "async"),
    ("mariadb", "s3", "blocking"),
]


def stored(place: Place, content: bytes = CONTENT, **facts: Any) -> dict[str, Any]:
    """Put an object and return a document that says the truth of it, but for what is given."""
    path = place.put(old_path(), content=content)
    info = place.store.backends["docs"].head(path)
    return document(path, **{"size": info.size, "etag": info.etag, "checksum": SHA256, **facts})


def values(place: Place, column: str) -> dict[int, Any]:
    table, _, name = column.partition(".")
    columns = place.metadata.tables[table].c
    with place.engine.connect() as connection:
        return dict(connection.execute(select(columns.id, type_coerce(columns[name], JSON))).all())  # type: ignore[arg-type]


def codes(steps: list[Progress] | Iterator[Progress]) -> dict[str, set[str]]:
    """Return the paths by code."""
    result: dict[str, set[str]] = {}
    for finding in findings(steps):
        result.setdefault(finding.code, set()).add(finding.path)
    return result


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("database", "store", "form"), CASES, indirect=["database", "store"])
def test_every_object_that_differs_from_its_row_is_reported(each_place: Place, form: str) -> None:
    place = each_place
    right = stored(place)
    place.row("document.file", right)
    place.row("document.file", document(right["path"]))  # knows nothing but the path, as other libraries' documents
    place.row("document.file", {"backend": "docs", "filename": right["path"]})
    missing, lost = document(old_path()), document(old_path())
    place.row("document.file", missing)
    place.row("document.pages", [stored(place), lost, stored(place)])
    size, etag = stored(place, size=8), stored(place, etag="another")
    checksum = stored(place, content=b"CONTENT")
    for wrong in (size, etag, checksum):
        place.row("document.file", wrong)
    quick = {"missing": {missing["path"], lost["path"]}, "size": {size["path"]}, "etag": {etag["path"]}}
    assert codes(check(place.metadata, place.engine, batch=2)) == quick
    deep = {"deep": True, "batch": 2, "concurrency": 2}
    steps = place.in_a_loop(check_async, **deep) if form == "async" else list(check(place.metadata, place.engine, **deep))
    assert codes(steps) == {**quick, "checksum": {checksum["path"]}}
    assert sum({progress.step: progress.transferred for progress in steps}.values()) == 7 * 6
    assert {progress.step: (progress.done, progress.total) for progress in steps}["document.file"] == (7, 7)
    where = {finding.path: finding.where for finding in findings(steps)}
    assert where[missing["path"]] == "document.file id=4"


def test_changed_etag_matters_less_when_the_bytes_are_right(place: Place) -> None:
    place.row("document.file", stored(place, etag="another"))
    levels = [[f.level for f in findings(check(place.metadata, place.engine, deep=deep))] for deep in (False, True)]
    assert levels == [["warning"], ["info"]]


@pytest.mark.parametrize(("database", "store", "form"), CASES, indirect=["database", "store"])
def test_missing_file_leaves_its_row_and_nothing_else_changes(each_place: Place, form: str) -> None:
    place = each_place
    kept, first, last = stored(place, etag="another"), stored(place), stored(place)
    with_file = place.row("document.file", kept)
    without = place.row("document.file", document(old_path()))
    pages = place.row("document.pages", [first, document(old_path()), document(old_path()), last])
    steps = (
        place.in_a_loop(check_async, repair="null")
        if form == "async"
        else list(check(place.metadata, place.engine, repair="null"))
    )
    assert sum({progress.step: progress.changed for progress in steps}.values()) == 3
    assert [finding.fixed for finding in findings(steps) if finding.code == "missing"] == [True] * 3
    assert [finding.fixed for finding in findings(steps) if finding.code == "etag"] == [False]
    assert values(place, "document.file") == {with_file: kept, without: None, pages: None}
    assert values(place, "document.pages")[pages] == [first, last]
    with place.engine.connect() as connection:
        assert set(connection.execute(select(place.metadata.tables["document"].c.title)).scalars()) == {None}  # no onupdate
    assert not findings(check(place.metadata, place.engine, repair="null", columns=["document.pages"]))


def test_a_store_that_does_not_answer_never_counts_as_missing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = place.store.backends["docs"]
    paths = {place.put(old_path()) for _ in range(3)}
    for path in paths:
        place.row("document.file", document(path))
    monkeypatch.setattr(backend, "_head", _refuse)
    assert codes(check(place.metadata, place.engine, repair="null")) == {"unreadable": paths}
    assert None not in values(place, "document.file").values()


def _refuse(path: str) -> None:
    raise OSError(5, "Input/output error", path)


def test_a_store_that_is_down_is_one_finding_and_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(60):
        place.row("document.file", document(old_path()))
    monkeypatch.setattr(place.store.backends["docs"], "_head", _refuse)
    steps = list(check(place.metadata, place.engine, batch=30))
    assert len(findings(steps)) == 1
    assert steps[-1].done == 0


def test_a_bucket_that_is_not_there_makes_no_row_lose_its_file(place: Place, s3_server: S3Server) -> None:
    """A missing bucket looks like a missing object when an object is asked for."""
    key = place.row("document.file", kept := document(old_path()))
    storages.unregister_backend("docs")
    options = {"aws_access_key_id": s3_server.access_key, "aws_secret_access_key": s3_server.secret_key}
    storages.register_backend(
        ObstoreBackend("docs", "s3://there-is-none/", aws_endpoint=s3_server.endpoint, retry_config={"max_retries": 0}, **options)
    )
    steps = list(check(place.metadata, place.engine, repair="null"))
    assert [(finding.code, finding.fixed) for finding in findings(steps)] == [("missing", False)]
    assert values(place, "document.file") == {key: kept}


def test_many_missing_objects_are_repaired_only_if_allowed(place: Place) -> None:
    for _ in range(21):
        place.row("document.file", document(old_path()))
    steps = list(check(place.metadata, place.engine, repair="null", batch=5))
    assert "too-many-missing" in codes(steps)
    assert None not in values(place, "document.file").values()
    steps = list(check(place.metadata, place.engine, repair="null", batch=5, allow_many=True))
    assert "too-many-missing" not in codes(steps)
    assert set(values(place, "document.file").values()) == {None}


def test_row_that_changes_during_a_check_is_not_a_finding(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = place.row("document.file", document(gone := old_path()))
    new = stored(place)
    backend = place.store.backends["docs"]
    asked = []

    def head(path: str, real: Any = backend._head) -> Any:
        if path == gone and not asked:
            asked.append(path)
            plain = Table("document", MetaData(), Column("id", Integer), Column("file", JSON))
            with place.engine.begin() as connection:
                connection.execute(update(plain).values(file=new))
        return real(path)

    monkeypatch.setattr(backend, "_head", head)
    assert not findings(check(place.metadata, place.engine, repair="null"))
    assert asked
    assert values(place, "document.file") == {key: new}


def test_object_found_at_the_second_look_is_not_repaired(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    key = place.row("document.file", kept := document(path := old_path()))
    backend = place.store.backends["docs"]

    def head(path: str, real: Any = backend._head) -> Any:
        try:
            return real(path)
        finally:
            place.put(path)  # a restored backup, say

    monkeypatch.setattr(backend, "_head", head)
    steps = list(check(place.metadata, place.engine, repair="null"))
    assert [(finding.path, finding.fixed) for finding in findings(steps)] == [(path, False)]
    assert values(place, "document.file") == {key: kept}


def test_a_column_that_takes_no_null_keeps_its_document(place: Place) -> None:
    metadata = MetaData()
    table = Table(
        "strict", metadata, Column("id", String(5), primary_key=True), Column("file", StoredObject("docs"), nullable=False)
    )
    metadata.create_all(place.engine)
    plain = Table("strict", MetaData(), Column("id", String(5)), Column("file", JSON))
    with place.engine.begin() as connection:
        connection.execute(insert(plain).values(id="a", file=document(old_path())))
    (finding,) = findings(check(metadata, place.engine, repair="null"))
    assert (finding.code, finding.fixed, finding.advice) == ("missing", False, "the column does not allow NULL")
    assert table.name == "strict"


def test_unreadable_values_are_reported_once_and_never_repaired(place: Place) -> None:
    for path in ("a", "b"):
        place.row("document.file", document(path, "gone"))
    place.row("document.file", {"v": 99})
    found = findings(check(place.metadata, place.engine, repair="null"))
    assert [finding.code for finding in found] == ["unreadable", "unreadable"]
    assert sorted(finding.where for finding in found) == ["document.file id=1", "document.file id=3"]
    assert None not in values(place, "document.file").values()


def test_an_interrupted_check_goes_on_at_its_cursor(place: Place) -> None:
    for _ in range(5):
        place.row("document.file", document(old_path()))
        place.row("document.pages", [document(old_path())])
    whole = reported(check(place.metadata, place.engine), "missing")
    for stop in range(1, 6):
        steps = check(place.metadata, place.engine, batch=2)
        before = [next(steps) for _ in range(stop)]
        steps.close()  # type: ignore[attr-defined]
        after = list(check(place.metadata, place.engine, batch=2, resume=before[-1].cursor))
        assert reported(before, "missing") | reported(after, "missing") == whole
        assert not reported(before, "missing") & reported(after, "missing")
    with pytest.raises(ValueError, match="not a cursor of these columns"):
        check(place.metadata, place.engine, resume="nonsense")


def test_progress_keeps_up_with_rows_that_are_added(place: Place) -> None:
    for _ in range(3):
        place.row("document.file", stored(place))
    storages.register_backend(MemoryBackend("far"))
    works: dict[str, Iterator[Progress]] = {
        "check": check(place.metadata, place.engine, columns=["document.file"], batch=1),
        "migrate": migrate(place.metadata, place.engine, "document.file", to="far", batch=1),
    }
    for name, steps in works.items():
        seen = []
        for step in steps:
            if not seen:
                place.row("document.file", stored(place))
                place.row("document.file", stored(place))
            seen.append((step.done, step.total))
        assert all(total is not None and done <= total for done, total in seen), f"{name}: {seen}"
        assert seen[-1][0] == seen[-1][1], f"{name}: {seen}"


class Endless(MemoryBackend):
    """Streams for seconds, but for one path, where it is soon interrupted."""

    chunks = 0

    def _stream(self, path: str, start: int, end: int | None, chunk_size: int) -> Iterator[bytes]:
        for _ in range(5 if path == "interrupted" else 1_000):
            self.chunks += 1
            time.sleep(0.005)
            yield b"x"
        raise KeyboardInterrupt

    async def _stream_async(self, path: str, start: int, end: int | None, chunk_size: int) -> AsyncIterator[bytes]:
        for _ in range(5 if path == "interrupted" else 1_000):
            self.chunks += 1
            await asyncio.sleep(0.005)
            yield b"x"
        raise KeyboardInterrupt


@pytest.mark.parametrize("form", ["blocking", "async"])
def test_interrupted_check_stops_what_it_is_reading(place: Place, form: str) -> None:
    backend = storages.register_backend(Endless("endless"))
    for path in ("first", "interrupted", "second"):
        backend.put(path, CONTENT)
        place.row("document.file", document(path, "endless", checksum=SHA256))
    with pytest.raises(KeyboardInterrupt):
        place.in_a_loop(check_async, deep=True) if form == "async" else list(check(place.metadata, place.engine, deep=True))
    assert backend.chunks < 1_000  # type: ignore[attr-defined]


def test_options_that_make_no_sense_are_refused_at_once(place: Place) -> None:
    with pytest.raises(ValueError, match="'report' or 'null'"):
        check(place.metadata, place.engine, repair="delete")  # type: ignore[typeddict-item]
    with pytest.raises(ValueError, match="1 or more"):
        check(place.metadata, place.engine, concurrency=0)
    with pytest.raises(LookupError, match="no file column"):
        check(place.metadata, place.engine, columns=["document.fiel"])


def test_empty_place_is_not_a_reason_to_null(each_place: Place, tmp_path: Path) -> None:
    """A prefix that was renamed, or a volume that is not mounted, is empty, and the rows are few."""
    for _ in range(5):
        each_place.row("document.file", stored(each_place))
    before = values(each_place, "document.file")
    storages.unregister_backend("docs")
    storages.register_backend(f"file://{tmp_path}/elsewhere", key="docs", fsync=False)
    found = findings(check(each_place.metadata, each_place.engine, repair="null"))
    assert {(one.code, one.fixed) for one in found} == {("missing", False)}
    assert values(each_place, "document.file") == before
    storages.get_backend("docs").put(f"_filerow/variants/a.png/{'0' * 32}.webp", b"x")  # made of something, but no file itself
    assert not any(one.fixed for one in findings(check(each_place.metadata, each_place.engine, repair="null")))
    storages.get_backend("docs").put("anything", b"x")
    assert all(one.fixed for one in findings(check(each_place.metadata, each_place.engine, repair="null")))
