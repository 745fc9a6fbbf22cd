"""A sweep removes variants whose originals are gone, and no others: nothing but the original itself says that it is gone."""

from __future__ import annotations

import itertools
import json
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from filerow import storages
from filerow.backends.base import Capabilities, ObjectInfo, StorageBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import StoragePermissionError
from filerow.maintenance import sweep, sweep_async
from tests.maintenance.place import DAY, HOUR, Place, document, findings, old_path, reported
from tests.maintenance.test_sweep_incremental import bucket, done, remembered
from tests.servers._process import ROOT
from tests.servers._s3 import S3Server
from tests.servers.counting import CountingProxy
from tests.variants.pictures import four_colours, saved

NO_GRACE = timedelta(0)
WET: dict[str, Any] = {"delete": True, "grace": NO_GRACE}
TREE = "sweep:docs:_filerow/variants"


def variant(original: str, extension: str = ".webp") -> str:
    return f"_filerow/variants/{original}/{secrets.token_hex(16)}{extension}"


def owned(place: Place, path: str, column: str = "document.file", backend: str = "docs") -> str:
    place.row(column, document(path, backend))
    return place.put(path, backend)


def orphans_of(place: Place) -> set[str]:
    """Make variants of each kind whose originals are gone."""
    return {
        place.put(variant(old_path())),  # made while its original was deleted
        place.put(variant(old_path(age=400 * DAY), ".failed")),
        *(place.put(variant(f"{old_path()}.old", extension)) for extension in (".jpg", ".failed")),
        place.put(variant(old_path("spread", shards=4))),
        place.put(variant(old_path("elsewhere")), "other"),
        place.put(variant(old_path("staged", "files"))),
        place.put(variant(old_path("kept"))),  # the application deletes the files of this column, and knows no variants
        place.put(variant("chosen/by/path.png")),
        place.put(variant("top.png")),
        place.put(variant("of/a/table/that/was/dropped.png")),
    }


def survivors_of(place: Place) -> set[str]:
    """Make variants whose originals are there, and what only looks like one."""
    originals = [
        owned(place, old_path()),
        owned(place, old_path(), "document.pages"),
        owned(place, old_path("spread", shards=4), "spread.file"),
        owned(place, old_path("staged", "files")),
        owned(place, "legacy/cat.png"),
        owned(place, "cat.png"),
        place.put(old_path("kept")),  # no row names it
        place.put("chosen/by/another/path.png"),
    ]
    foreign = [
        f"_filerow/variants/{secrets.token_hex(16)}.webp",
        f"_filerow/variants/{old_path()}/readme.txt",
        f"_filerow/variants/{old_path()}/{secrets.token_hex(16)}",
        f"_filerow/variants/{old_path()}/{secrets.token_hex(16).upper()}.webp",
        f"_filerow/variants/{old_path()}/{secrets.token_hex(15)}.webp",
        f"_filerow/variants2/{old_path()}/{secrets.token_hex(16)}.webp",
        f"_filerow/{old_path()}/{secrets.token_hex(16)}.webp",
        f"filerow/variants/{old_path()}/{secrets.token_hex(16)}.webp",
        f"backup/{variant(old_path())}",
    ]
    made = [variant(original, extension) for original in originals for extension in (".webp", ".failed")]
    away = owned(place, old_path("elsewhere"), "elsewhere.file", "other")
    place.put(theirs := variant(away), "other")
    return {*originals, away, theirs, *(place.put(path) for path in (*foreign, *made))}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("database", "store", "form"),
    [("sqlite", "local", "async"), ("postgresql", "s3", "blocking"), ("postgresql", "local", "async")],
    indirect=["database", "store"],
)
def test_variants_of_what_is_gone_go_and_all_others_stay(each_place: Place, form: str) -> None:
    place = each_place
    orphans, survivors = orphans_of(place), survivors_of(place)
    dry = list(sweep(place.metadata, place.engine, grace=NO_GRACE, batch=3))
    assert reported(dry, "orphan-variant") == orphans
    assert place.paths() == orphans | survivors
    assert sum({one.step: one.would_change for one in dry}.values()) == len(orphans)
    if form == "async":
        wet = place.in_a_loop(sweep_async, batch=3, **WET)
    else:
        wet = list(sweep(place.metadata, place.engine, batch=3, **WET))
    assert {one.path for one in findings(wet) if one.code == "orphan-variant" and one.fixed} == orphans
    assert place.paths() == survivors
    assert not reported(sweep(place.metadata, place.engine, grace=NO_GRACE, full=True), "orphan-variant")


def test_one_sweep_removes_an_orphan_and_its_variants(place: Place) -> None:
    path = place.put(old_path())
    place.put(variant(path))
    place.put(variant(path, ".failed"))
    list(sweep(place.metadata, place.engine, delete=True))
    assert place.paths() == set()


def test_variants_younger_than_the_grace_period_stay(place: Place) -> None:
    old, young = variant(old_path()), variant(old_path())
    place.put(old, age=25 * HOUR)
    place.put(young, age=23 * HOUR)
    steps = list(sweep(place.metadata, place.engine, delete=True))
    assert place.paths() == {young}
    assert {one.step: one.too_young for one in steps}["docs: variants"] == 1


def test_variants_do_not_count_as_too_many_orphans(place: Place) -> None:
    for _ in range(150):
        place.put(variant(old_path()))
    kept = owned(place, old_path())
    steps = list(sweep(place.metadata, place.engine, delete=True))
    assert place.paths() == {kept}
    assert not reported(steps, "too-many-orphans")


def test_a_guest_and_a_first_run_delete_no_variant(place: Place) -> None:
    path = place.put(variant(old_path()))
    (storages.get_backend("docs").root / "staged/places/00000000000070008000000000000000.json").unlink()  # type: ignore[attr-defined]
    assert {one.code for one in findings(sweep(place.metadata, place.engine, delete=True))} >= {"first-run", "orphan-variant"}
    assert place.paths() == {path}
    backend = storages.get_backend("docs")
    storages.unregister_backend("docs")
    storages.register_backend(backend, deletes=False)
    assert "guest" in {one.code for one in findings(sweep(place.metadata, place.engine, delete=True))}
    assert place.paths() == {path}
    storages.unregister_backend("docs")
    storages.register_backend(backend)
    list(sweep(place.metadata, place.engine, delete=True))
    assert place.paths() == set()


# -- absence is proven -----------------------------------------------------------------------------------------------------


class Doubtful(MemoryBackend):
    """A store whose listings lag, or that does not say whether an object is there."""

    unlisted: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    undeletable: frozenset[str] = frozenset()

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        return (info for info in super()._list(prefix, start_after) if info.path not in self.unlisted)

    def _head(self, path: str) -> ObjectInfo:
        if path in self.hidden:
            msg = "access denied"
            raise StoragePermissionError(msg, operation="head", backend=self.key, path=path)
        return super()._head(path)

    def _delete(self, paths: Any) -> Any:
        failed = {path: OSError("not today") for path in paths if path in self.undeletable}
        return {**super()._delete([path for path in paths if path not in failed]), **failed}


@pytest.fixture
def doubtful(place: Place) -> Doubtful:
    storages.unregister_backend("docs")
    backend = Doubtful("docs")
    storages.register_backend(backend)
    return backend


def test_variants_of_an_unlisted_original_stay(place: Place, doubtful: Doubtful) -> None:
    here = [old_path() for _ in range(3)]
    for path in here:
        place.row("document.file", document(path))
        for name in (path, variant(path)):
            doubtful.put(name, b"x")
    doubtful.put(gone := variant(old_path()), b"x")
    doubtful.unlisted = frozenset(here[1:])
    assert reported(sweep(place.metadata, place.engine, **WET), "orphan-variant") == {gone}
    assert len(list(doubtful.list("_filerow"))) == 3


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_hidden_originals_keep_variants_and_are_asked_again(place: Place, doubtful: Doubtful) -> None:
    path = old_path()
    doubtful.put(made := variant(path), b"x")
    doubtful.hidden = frozenset({path})
    found = [one for one in findings(sweep(place.metadata, place.engine, **WET)) if one.path == path]
    assert [(one.code, one.level) for one in found] == [("unreadable", "warning")]
    assert [info.path for info in doubtful.list("_filerow")] == [made]
    doubtful.hidden = frozenset()
    list(sweep(place.metadata, place.engine, **WET))
    assert not list(doubtful.list("_filerow"))


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_variants_that_cannot_be_deleted_are_tried_again(place: Place, doubtful: Doubtful) -> None:
    doubtful.put(path := variant(old_path()), b"x")
    doubtful.undeletable = frozenset({path})
    (found,) = [one for one in findings(sweep(place.metadata, place.engine, **WET)) if one.code == "orphan-variant"]
    assert (found.level, found.fixed) == ("error", False)
    doubtful.undeletable = frozenset()
    list(sweep(place.metadata, place.engine, **WET))
    assert not list(doubtful.list("_filerow"))


class Disordered(MemoryBackend):
    """A store that lists in any order."""

    capabilities = Capabilities()

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        found = sorted(super()._list(prefix, start_after), key=lambda info: info.path[::-1])
        return iter(found)


@pytest.mark.parametrize("options", [{}, {"columns": ["document.file"]}, {"shards": (1, 1)}], ids=["all", "column", "shards"])
def test_stores_that_list_in_any_order_lose_their_orphans(place: Place, options: dict[str, Any]) -> None:
    storages.unregister_backend("docs")
    backend = Disordered("docs")
    storages.register_backend(backend)
    here = [old_path() for _ in range(20)]
    for path in here:
        place.row("document.file", document(path))
        for name in (path, variant(path), variant(old_path())):
            backend.put(name, b"x")
    steps = list(sweep(place.metadata, place.engine, batch=7, **WET, **options))
    assert len(reported(steps, "orphan-variant")) == 20
    assert {info.path.split("/")[4] for info in backend.list("_filerow/variants/document")} == {one.split("/")[2] for one in here}


# -- when, how far, and by whom --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
def test_variants_are_gone_through_once_a_week(place: Place) -> None:
    list(sweep(place.metadata, place.engine, **WET))
    place.put(late := variant(old_path(age=400 * DAY)))
    assert not reported(sweep(place.metadata, place.engine, **WET), "orphan-variant")
    with_an_interval = sweep(place.metadata, place.engine, grace=NO_GRACE, variants_every=timedelta(0))
    assert reported(with_an_interval, "orphan-variant") == {late}
    assert reported(sweep(place.metadata, place.engine, grace=NO_GRACE, full=True), "orphan-variant") == {late}
    known = remembered(place, TREE)
    assert time.time() - 60 < known["since"] < time.time()


def test_a_week_later_and_after_a_fast_clock_variants_are_due(place: Place, tmp_path: Path) -> None:
    state = tmp_path / "sweep.json"
    for since in (time.time() - 7 * DAY - 1, time.time() + 30 * DAY):
        list(sweep(place.metadata, place.engine, state=state, full_every=timedelta.max, **WET))
        known = json.loads(state.read_text())
        assert known[TREE].keys() == {"since"}
        known[TREE]["since"] = since
        state.write_text(json.dumps(known))
        place.put(late := variant(old_path()))
        again = sweep(place.metadata, place.engine, state=state, full_every=timedelta.max, **WET)
        assert reported(again, "orphan-variant") == {late}


@pytest.mark.parametrize("place", ["outbox"], indirect=True)
@pytest.mark.parametrize("stop", [1, 2, 5, 9])
def test_interrupted_tours_of_the_variants_go_on(place: Place, stop: int) -> None:
    kept = set()
    for number in range(30):
        path = place.put(variant(old_path(age=(40 - number) * DAY) if number % 2 else f"chosen/{number:02}.png"))
        if number % 3:
            kept |= {path, place.put(path.split("/", 2)[2].rpartition("/")[0])}
            place.row("document.file", document(path.split("/", 2)[2].rpartition("/")[0]))
    steps = sweep(place.metadata, place.engine, batch=2, **WET)
    tour = (progress for progress in steps if progress.step == "docs: variants")
    seen = [progress.done for progress in itertools.islice(tour, stop)][-1]
    steps.close()  # type: ignore[attr-defined]
    assert "run" in remembered(place, TREE)
    again = list(sweep(place.metadata, place.engine, batch=2, **WET))
    assert {one.step: one.done for one in again}["docs: variants"] == 30 - seen
    assert place.paths() == kept
    assert remembered(place, TREE).keys() == {"since"}


def test_shares_of_a_sweep_go_through_each_variant_once(place: Place) -> None:
    orphans, survivors = orphans_of(place), survivors_of(place)
    looked = sum(done(sweep(place.metadata, place.engine, grace=NO_GRACE)) for _ in range(1))
    shares = [list(sweep(place.metadata, place.engine, grace=NO_GRACE, shards=(n, 3), batch=2)) for n in (1, 2, 3)]
    found = [path for steps in shares for path in reported(steps, "orphan-variant")]
    assert sorted(found) == sorted(orphans)
    assert sum(map(done, shares)) == looked
    for number in (1, 2, 3):
        list(sweep(place.metadata, place.engine, shards=f"{number}/3", batch=2, **WET))
    assert place.paths() == survivors


def test_one_column_s_sweep_leaves_other_variants_alone(place: Place) -> None:
    mine, shard, away, staged, kept = map(
        variant, (old_path(), old_path("spread", shards=4), old_path("elsewhere"), old_path("staged", "files"), old_path("kept"))
    )
    places = {"document.file": mine, "spread.file": shard, "elsewhere.file": away, "staged": staged, "kept.file": kept}
    for name, path in places.items():
        place.put(path, "other" if name == "elsewhere.file" else "docs")
    place.put(other := variant("chosen/by/path.png"))
    for name, path in places.items():
        before = place.paths()
        assert reported(sweep(place.metadata, place.engine, delete=True, columns=[name]), "orphan-variant") == {path}
        assert place.paths() == before - {path}
    assert place.paths() == {other}


def test_variants_of_a_renamed_column_and_a_former_backend_go(place: Place) -> None:
    orphans = {place.put(variant(old_path("paper"))), place.put(variant(old_path()), "other")}
    options: dict[str, Any] = {"columns": ["document.file"], "former": ["paper/file"], "backends": ["other"]}
    assert reported(sweep(place.metadata, place.engine, delete=True, **options), "orphan-variant") == orphans


def test_an_inventory_shows_variants_and_the_store_what_is_gone(place: Place) -> None:
    orphans, survivors = orphans_of(place), survivors_of(place)
    listed = [(key, ObjectInfo(path, 7, last_modified=time.time() - 3 * DAY)) for key, path in place.store.everything()]

    def inventory(backend: str, folder: str) -> Iterator[ObjectInfo]:
        return (info for key, info in listed if key == backend and info.path.startswith(f"{folder}/"))

    assert reported(sweep(place.metadata, place.engine, listing=inventory, batch=3, **WET), "orphan-variant") == orphans
    assert place.paths() == survivors


def test_a_draft_of_a_killed_maker_goes(place: Place) -> None:
    backend: Any = storages.get_backend("docs")
    place.put(variant(owned(place, old_path())))
    original = owned(place, old_path())
    draft = place.put(f"_filerow/variants/{original}/.put#123")
    assert [one.path for one in backend.unfinished("_filerow")] == [draft]
    list(sweep(place.metadata, place.engine, delete=True))
    assert draft not in place.paths()


# -- what it costs ---------------------------------------------------------------------------------------------------------


def test_variants_of_listed_originals_cost_no_request(place: Place, s3_server: S3Server) -> None:
    with CountingProxy(s3_server.endpoint) as proxy:
        backend, _ = bucket(place, s3_server, s3_server.endpoint)
        paths = [old_path(age=(500 - number) * HOUR) for number in range(400)]
        gone = paths[::100]
        for path in paths:
            backend.put(variant(path), b"x")
            if path not in gone:
                backend.put(path, b"x")
                place.row("kept.file", document(path))
        storages.unregister_backend("docs")
        bucket_of(backend, proxy.endpoint)
        with proxy.record() as requests:
            steps = list(sweep(place.metadata, place.engine, backends=["docs"], **WET))
        assert len(reported(steps, "orphan-variant")) == len(gone)
        assert len([one for one in requests if one.method == "HEAD"]) == len(gone)
        variants = [one for one in requests if "prefix=" in one.query and "_filerow" in one.query and "list-type" in one.query]
        assert len(variants) == 1


def bucket_of(backend: StorageBackend, endpoint: str) -> None:
    """Register the same bucket, asked through another endpoint."""
    from filerow.backends.obstore import ObstoreBackend

    store: Any = backend
    config = {**store.store.config, "endpoint": endpoint}
    storages.register_backend(
        ObstoreBackend(
            "docs",
            f"s3://{config['bucket']}/{store.store.prefix}",
            aws_endpoint=endpoint,
            aws_access_key_id=config["access_key_id"],
            aws_secret_access_key=config["secret_access_key"],
        )
    )


MAKER = """
import sys, time
from pathlib import Path
from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.variants import Thumbnail

class Slow(LocalBackend):
    def _head(self, path):
        if list(self.list("_filerow")):
            print("stored", flush=True)
            time.sleep(60)
        return super()._head(path)

storages.register_backend(Slow("docs", sys.argv[1], fsync=False))
FileObject.from_dict({"v": 1, "backend": "docs", "path": sys.argv[2], "filename": "a.png"}).variant(
    Thumbnail(20, 20)
).get_content()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="nothing makes variants there")
def test_variant_of_a_maker_that_was_killed_after_a_delete_goes(place: Place) -> None:
    backend: Any = storages.get_backend("docs")
    path = place.put(old_path(), content=saved(four_colours()))
    command = [sys.executable, "-c", MAKER, str(backend.root), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"stored\n"
        backend.delete(path)
        maker.send_signal(signal.SIGKILL)
    (left,) = place.paths()
    assert left.startswith(f"_filerow/variants/{path}/")
    assert reported(sweep(place.metadata, place.engine, **WET), "orphan-variant") == {left}
    assert place.paths() == set()
