"""Variants that are made before the commit, in sync and async sessions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Generator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from sqlalchemy import create_engine, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StorageRegistry, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import FileValidationError, RecipeError, VariantRefusedError
from filerow.hooks import Event, subscribe, unsubscribe
from filerow.http import answer
from filerow.maintenance import sweep
from filerow.testing import Fault, FaultyBackend
from filerow.variants import Custom, Resize, Thumbnail, VariantWorkers, configure, configure_urls, make_variant
from tests.backends.stores import s3_options
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3, Limits
from tests.variants import killed_commit
from tests.variants.pictures import four_colours, png_of_zeros, saved, seen
from tests.variants.shop import parts

pytestmark = [pytest.mark.usefixtures("variant_workers"), pytest.mark.one_in(2)]

PICTURE = saved(four_colours())
BROKEN = PICTURE[: len(PICTURE) // 2]
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n%%EOF\n"
THUMB, WIDE = Thumbnail(20, 20), Resize(width=40)
BOTH = {"thumb": THUMB, "wide": WIDE}


def in_row(row: Any) -> Any:
    kind = row["kind"] if isinstance(row, dict) else row.kind
    return {"avatar": "commit", "one": {"thumb": "commit"}, "none": "first_use"}[kind]


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photo"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("photos", variants=BOTH, make_variants="commit"))
    pages: Mapped[FileObjectList] = mapped_column(
        StoredObject("photos", multiple=True, variants={"thumb": THUMB}, make_variants="commit")
    )
    later: Mapped[FileObject | None] = mapped_column(StoredObject("photos", variants=BOTH))
    named: Mapped[FileObject | None] = mapped_column(
        StoredObject("photos", variants=BOTH, make_variants={"thumb": "commit", "wide": "first_use"})
    )


class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column("sort")
    name: Mapped[str | None] = mapped_column(unique=True)
    portrait: Mapped[FileObject | None] = mapped_column("picture", StoredObject("photos", variants=BOTH, make_variants=in_row))


class Failing(Base):
    __tablename__ = "failing"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject("photos", variants={"own": Custom("own", "tests.variants.attacks:fail", version=1)}, make_variants="commit")
    )


class Sleepy(Base):
    __tablename__ = "sleepy"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(
        StoredObject(
            "photos", variants={"own": Custom("slow", "tests.variants.attacks:sleep", version=1)}, make_variants="commit"
        )
    )


class Plain(Base):
    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("photos"))


def is_variant(path: str) -> bool:
    return path.startswith("_filerow/")


class Slow(FaultyBackend):
    """Lets a test act when an original was stored."""

    after_put: Callable[[], object] | None = None

    def _put(self, path: str, content: Any, options: Any) -> Any:
        found = super()._put(path, content, options)
        self._stored(path)
        return found

    async def _put_async(self, path: str, content: Any, options: Any) -> Any:
        found = await super()._put_async(path, content, options)
        self._stored(path)
        return found

    def _stored(self, path: str) -> None:
        if self.after_put is not None and not is_variant(path):
            self.after_put()


@contextlib.contextmanager
def busy(makers: VariantWorkers) -> Generator[None]:
    """Keep all workers waiting for an original."""
    reading, go_on = threading.Event(), threading.Event()

    class Held(MemoryBackend):
        def _read(self, path: str, start: int, end: int | None) -> bytes:
            reading.set()
            go_on.wait(20)
            return super()._read(path, start, end)

    storages.register_backend(Held("held"))
    file = FileObject(backend="held", filename="a.png", content=PICTURE)
    file.save()
    thread = threading.Thread(target=make_variant, args=(file, THUMB), kwargs={"workers": makers})
    thread.start()
    reading.wait(20)
    try:
        yield
    finally:
        go_on.set()
        thread.join()
        storages.unregister_backend("held")


class Place:
    """A database, a backend and sessions of one kind."""

    def __init__(self, kind: str, folder: Path, backend: Slow) -> None:
        self.kind = kind
        self.backend = backend
        self._url = f"sqlite:///{folder / 'rows.db'}"
        self._engine = create_engine(self._url)
        Base.metadata.create_all(self._engine)

    def run(self, case: Callable[[Session], Any]) -> Any:
        """Run a case with a session; under asyncio in its greenlet."""
        if self.kind == "sync":
            with Session(self._engine) as session:
                return case(session)
        return asyncio.run(self.run_async(case))

    async def run_async(self, case: Callable[[Session], Any]) -> Any:
        engine = create_async_engine(self._url.replace("sqlite", "sqlite+aiosqlite"))
        event.listen(engine.sync_engine, "connect", lambda c, _: setattr(c, "isolation_level", None))
        event.listen(engine.sync_engine, "begin", lambda c: c.exec_driver_sql("BEGIN"))
        try:
            async with AsyncSession(engine) as session:
                return await session.run_sync(case)
        finally:
            await engine.dispose()

    def paths(self) -> set[str]:
        return {info.path for info in self.backend.list("")}

    def documents(self, table: str, column: str) -> list[Any]:
        with self._engine.connect() as connection:
            found = connection.execute(text(f"SELECT {column} FROM {table} ORDER BY id")).scalars()
            return [json.loads(one) for one in found if one is not None]

    def close(self) -> None:
        self._engine.dispose()


@pytest.fixture
def photos() -> Iterator[Slow]:
    backend = Slow(MemoryBackend("photos"))
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


@pytest.fixture(params=["sync", "async"])
def place(request: pytest.FixtureRequest, tmp_path: Path, photos: Slow) -> Iterator[Place]:
    made = Place(request.param, tmp_path, photos)
    yield made
    made.close()


def picture(content: Any = PICTURE, filename: str = "me.png", **more: Any) -> FileObject:
    return FileObject(filename=filename, content=content, **more)


def added(session: Session, *rows: Any) -> Any:
    session.add_all(rows)
    session.commit()
    return rows[0]


def variants_in(document: dict[str, Any]) -> list[str]:
    found = document.get("variants", [])
    assert isinstance(found, list)
    return found


def made_paths(file: FileObject | None, *names: str) -> set[str]:
    assert file is not None
    return {file.path, *(file.variant(name).path for name in names)}


def test_commit_stores_variants_and_lists_them(place: Place) -> None:
    def case(session: Session) -> None:
        file = added(session, Photo(file=picture())).file
        assert place.paths() == made_paths(file, "thumb", "wide")
        assert seen(place.backend.read(file.variant("thumb").path)).size == (20, 20)
        assert seen(place.backend.read(file.variant("wide").path)).size == (40, 20)

    place.run(case)
    (document,) = place.documents("photo", "file")
    assert len(variants_in(document)) == 2
    assert (document["width"], document["height"]) == (80, 40)


def test_listed_variants_follow_the_order_of_recipes(place: Place) -> None:
    def case(session: Session) -> list[str]:
        file = added(session, Photo(file=picture())).file
        return [file.variant(name).id for name in BOTH]

    ids = place.run(case)
    assert variants_in(place.documents("photo", "file")[0]) == ids


def test_only_named_variants_are_made_at_the_commit(place: Place) -> None:
    def case(session: Session) -> None:
        row = added(session, Photo(named=picture(), later=picture()))
        assert place.paths() == made_paths(row.named, "thumb") | {row.later.path}

    place.run(case)
    assert variants_in(place.documents("photo", "later")[0]) == []


def test_function_of_the_row_chooses(place: Place) -> None:
    def case(session: Session) -> list[int]:
        rows = [Person(kind=kind, portrait=picture()) for kind in ("avatar", "one", "none")]
        added(session, *rows)
        return [row.id for row in rows]

    place.run(case)
    assert [len(variants_in(one)) for one in place.documents("person", "picture")] == [2, 1, 0]


BULK: dict[str, Callable[[Session], Any]] = {
    "rows": lambda s: s.execute(insert(Person), [{"kind": kind, "portrait": picture()} for kind in ("avatar", "one", "none")]),
    "values": lambda s: [s.execute(insert(Person).values(kind=kind, portrait=picture())) for kind in ("avatar", "one", "none")],
    "many-values": lambda s: s.execute(
        insert(Person).values([{"kind": kind, "portrait": picture()} for kind in ("avatar", "one", "none")])
    ),
}


@pytest.mark.parametrize("way", BULK)
def test_function_gets_the_values_of_a_bulk_statement(place: Place, way: str) -> None:
    def case(session: Session) -> None:
        BULK[way](session)
        session.commit()

    place.run(case)
    assert [len(variants_in(one)) for one in place.documents("person", "picture")] == [2, 1, 0]


def test_function_gets_the_values_of_an_update(place: Place) -> None:
    def case(session: Session) -> None:
        added(session, Person(kind="none", name="a"), Person(kind="none", name="b"))
        session.execute(update(Person).where(Person.name == "a").values(kind="one", portrait=picture()))
        session.execute(update(Person), [{"id": 2, "kind": "avatar", "portrait": picture()}])
        session.commit()

    place.run(case)
    assert [len(variants_in(one)) for one in place.documents("person", "picture")] == [1, 2]


def test_wrong_answer_of_the_function_undoes_the_flush(place: Place) -> None:
    def case(session: Session) -> None:
        with pytest.raises(KeyError):
            added(session, Person(kind="other", portrait=picture()))

    place.run(case)
    assert place.paths() == set()


SOURCES: dict[str, Callable[[Path], Any]] = {
    "bytes": lambda _: PICTURE,
    "bytearray": lambda _: bytearray(PICTURE),
    "path": lambda folder: written(folder / "a.png"),
    "file": lambda folder: written(folder / "a.png").open("rb"),
    "stream": lambda _: iter([PICTURE[:50], PICTURE[50:]]),
    "chunks": lambda _: [PICTURE[:50], PICTURE[50:]],
}


def written(path: Path) -> Path:
    path.write_bytes(PICTURE)
    return path


@pytest.mark.parametrize("source", SOURCES)
def test_any_content_gets_its_variants(place: Place, tmp_path: Path, source: str) -> None:
    def case(session: Session) -> None:
        content = SOURCES[source](tmp_path)
        file = added(session, Photo(file=picture(content))).file
        assert place.paths() == made_paths(file, "thumb", "wide")
        if isinstance(content, io.IOBase):
            content.close()

    place.run(case)


def test_all_files_of_a_flush_get_their_variants(place: Place) -> None:
    def case(session: Session) -> None:
        row = Photo(file=picture(), pages=[picture(), picture(filename="b.png")], named=picture())
        person = Person(kind="one", portrait=picture())
        added(session, row, person)
        pages = set().union(*(made_paths(page, "thumb") for page in row.pages))
        others = made_paths(row.file, "thumb", "wide") | made_paths(row.named, "thumb") | made_paths(person.portrait, "thumb")
        assert place.paths() == pages | others

    place.run(case)
    assert [len(variants_in(page)) for page in place.documents("photo", "pages")[0]] == [1, 1]


def test_broken_image_is_refused_at_its_field(place: Place) -> None:
    def case(session: Session) -> None:
        file = picture(BROKEN)
        with pytest.raises(VariantRefusedError) as caught:
            added(session, Photo(title="a", file=file), Photo(title="b", file=picture()))
        error = caught.value
        assert isinstance(error, FileValidationError)
        assert (error.field, error.code, error.status_code, error.rule) == ("file", "variant-broken", 422, "variants")
        said = "file: no 'thumb' can be made of 'me.png', since the image is broken, or cut short; choose another image"
        assert str(error) == said
        assert file.has_pending_data

    place.run(case)
    assert place.documents("photo", "file") == []
    assert place.paths() == set()


def test_image_that_no_worker_reads_is_refused(place: Place) -> None:
    def case(session: Session) -> None:
        with pytest.raises(VariantRefusedError) as caught:
            added(session, Photo(file=picture(b"BM" + saved(four_colours(), "BMP")[2:], "a.bmp")))
        assert caught.value.code == "variant-not-an-image"
        assert "JPEG, PNG, GIF, WebP, AVIF or TIFF" in str(caught.value)

    place.run(case)


def test_file_that_is_not_an_image_passes(place: Place) -> None:
    def case(session: Session) -> None:
        svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'/>"
        rows = [Photo(file=picture(content, name)) for content, name in ((PDF, "a.pdf"), (b"text", "a.txt"), (svg, "a.svg"))]
        added(session, *rows)
        assert place.paths() == set().union(*(made_paths(row.file) for row in rows))

    place.run(case)
    assert [variants_in(one) for one in place.documents("photo", "file")] == [[], [], []]


def test_large_file_is_left_to_its_first_use(place: Place) -> None:
    def case(session: Session) -> None:
        large = PICTURE + bytes(32_000_001 - len(PICTURE))
        file = added(session, Photo(file=picture(large))).file
        assert place.paths() == {file.path}

    place.run(case)


def test_too_many_pixels_are_refused(place: Place) -> None:
    def case(session: Session) -> None:
        with pytest.raises(VariantRefusedError) as caught:
            added(session, Photo(file=picture(png_of_zeros(20_000, 20_000, rows=1))))
        assert caught.value.code == "variant-too-many-pixels"
        assert "configure(max_pixels=...)" in str(caught.value)

    place.run(case)


def test_failing_function_undoes_the_flush(place: Place) -> None:
    def case(session: Session) -> None:
        with pytest.raises(RecipeError, match=r"tests\.variants\.attacks:fail"):
            added(session, Failing(file=picture()))

    place.run(case)
    assert place.paths() == set()


def test_failing_store_leaves_variants_to_first_use(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    def case(session: Session) -> None:
        file = added(session, Photo(file=picture())).file
        assert place.paths() == {file.path}

    with place.backend.inject(Fault("put", error=OSError("the disk is full"), paths=is_variant)):
        place.run(case)
    (document,) = place.documents("photo", "file")
    assert variants_in(document) == []
    (record,) = caplog.records
    assert "2 variants on backend 'photos' not made before the commit" in record.getMessage()
    assert "the disk is full" in record.getMessage()


def test_failing_store_keeps_no_bytes_in_memory(tmp_path: Path) -> None:
    store = Slow(LocalBackend("photos", tmp_path / "store"), Fault("put", error=OSError, paths=is_variant))
    storages.register_backend(store)
    place = Place("sync", tmp_path, store)
    mebibyte = bytes(1 << 20)
    tracemalloc.start()
    try:
        rows = (Photo(named=picture(iter([PICTURE, mebibyte]))) for _ in range(30))
        place.run(lambda session: added(session, *rows) and None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        storages.clear_backends()
    assert peak < 24 << 20  # 16 uploads at a time, and not all 30
    place.close()


def test_what_is_left_is_made_at_first_use(place: Place) -> None:
    def case(session: Session) -> None:
        with place.backend.inject(Fault("put", error=OSError, paths=is_variant)):
            file = added(session, Photo(file=picture())).file
        assert seen(file.variant("thumb").get_content()).size == (20, 20)

    if place.kind == "sync":
        place.run(case)


def test_workers_that_cannot_start_do_not_stop_a_commit(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    configure(executable="/nowhere/python")
    try:
        place.run(lambda session: added(session, Photo(file=picture())) and None)
    finally:
        configure(workers=2, queue_seconds=60)
    assert variants_in(place.documents("photo", "file")[0]) == []
    assert len(place.paths()) == 1
    assert "could not start" in caplog.text or "worker" in caplog.text


def test_busy_workers_do_not_stop_a_commit(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    makers = configure(workers=1, queue_seconds=0.2)
    try:
        with busy(makers):
            place.run(lambda session: added(session, Photo(file=picture())) and None)
    finally:
        configure(workers=2, queue_seconds=60)
    assert variants_in(place.documents("photo", "file")[0]) == []
    assert "busy for 0.2 seconds" in caplog.text


def test_slow_decoder_does_not_stop_a_commit(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    configure(workers=1, seconds=0.2)
    try:
        place.run(lambda session: added(session, Sleepy(file=picture())) and None)
    finally:
        configure(workers=2, queue_seconds=60)
    assert variants_in(place.documents("sleepy", "file")[0]) == []
    assert "1 variant on backend 'photos' not made before the commit" in caplog.text


def test_killed_decoder_does_not_stop_a_commit(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The system may have run out of memory because of others."""

    def kill() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for decoder in worker.children():
                decoder.kill()
                return
            time.sleep(0.02)

    others = {one.pid for one in psutil.Process().children()}  # a database server, say
    configure(workers=1, queue_seconds=60).protections()  # it has started, so the next process of its own is a decoder
    (worker,) = [one for one in psutil.Process().children() if one.pid not in others]
    killer = threading.Thread(target=kill)
    killer.start()
    place.run(lambda session: added(session, Sleepy(file=picture())) and None)
    killer.join()
    configure(workers=2, queue_seconds=60)
    assert variants_in(place.documents("sleepy", "file")[0]) == []
    assert "was killed" in caplog.text


def test_flush_stops_making_when_its_time_is_over(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    configure(workers=1, queue_seconds=0.1, seconds=0.2)
    delayed = Fault("put", delay=0.2, paths=is_variant)
    try:
        with place.backend.inject(delayed):
            place.run(lambda session: added(session, *(Photo(file=picture()) for _ in range(6))) and None)
    finally:
        configure(workers=2, queue_seconds=60)
    made = [len(variants_in(one)) for one in place.documents("photo", "file")]
    assert len(made) == 6
    assert sum(made) < 12
    assert len([path for path in place.paths() if is_variant(path)]) == sum(made)
    assert "took longer than queue_seconds and seconds" in caplog.text


def test_no_more_sources_than_workers_are_in_memory(place: Place) -> None:
    def case(session: Session) -> None:
        streams = [iter([PICTURE[:50], PICTURE[50:]]) for _ in range(40)]
        session.execute(insert(Photo), [{"file": picture(stream)} for stream in streams])
        session.commit()

    with place.backend.inject(Fault("put", delay=0.01, paths=is_variant)):
        place.run(case)
    under_way, most, left = 0, 0, dict[str, int]()
    for call in place.backend.log:
        if call.operation == "read":
            under_way, left[call.paths[0]] = under_way + 1, 2
        elif is_variant(call.paths[0]):
            original = call.paths[0].removeprefix("_filerow/variants/").rpartition("/")[0]
            left[original] -= 1
            under_way -= not left[original]
        most = max(most, under_way)
    assert most == 2
    assert place.backend.calls == {"put": 120, "read": 40}  # one read for each stream, whatever is made of it


def test_content_that_can_be_read_again_is_not_read_back(place: Place, tmp_path: Path) -> None:
    place.run(lambda session: added(session, Photo(file=picture()), Photo(file=picture(written(tmp_path / "a.png")))) and None)
    assert place.backend.calls["read"] == 0
    assert place.backend.calls == {"put": 6}


def test_path_that_changes_meanwhile_is_read_back(place: Place, tmp_path: Path) -> None:
    """A camera overwrites its picture: the variant is of what was stored."""
    path = written(tmp_path / "a.png")
    other = saved(four_colours(40, 80))
    place.backend.after_put = lambda: path.write_bytes(other)

    def case(session: Session) -> None:
        file = added(session, Photo(named=picture(path))).named
        assert seen(place.backend.read(file.variant("thumb").path)).size == (20, 20)
        assert place.backend.calls["read"] == 2

    place.run(case)


def test_other_columns_cost_nothing(place: Place) -> None:
    def case(session: Session) -> None:
        file = added(session, Plain(file=picture())).file
        assert (file.width, file.height) == (None, None)

    place.run(case)
    assert place.backend.calls == {"put": 1}
    assert "variants" not in place.documents("plain", "file")[0]


def test_copies_moves_and_adopted_files_are_not_made_again(place: Place) -> None:
    def case(session: Session) -> None:
        one = added(session, Photo(later=picture()))
        session.add(Photo(file=one.later))  # a copy
        session.add(Photo(file=FileObject(backend="photos", to_filename="kept.png")))
        session.commit()

    place.backend.put("kept.png", PICTURE)
    place.run(case)
    assert not any(map(is_variant, place.paths()))


def test_chosen_path_is_made_but_not_listed(place: Place) -> None:
    """Whoever deletes what was there before may delete its variants late."""

    def case(session: Session) -> None:
        file = added(session, Photo(file=picture(to_filename="me.png"))).file
        assert place.paths() == made_paths(file, "thumb", "wide")

    place.run(case)
    assert variants_in(place.documents("photo", "file")[0]) == []


def test_rolled_back_file_can_be_stored_again(place: Place) -> None:
    def case(session: Session) -> None:
        file = picture()
        session.add(Photo(file=file))
        session.flush()
        assert len(facts_of_row(session)) == 2
        session.rollback()
        assert place.paths() == set()
        stored = added(session, Photo(file=file)).file
        assert made_paths(stored, "thumb", "wide") == place.paths()

    place.run(case)
    assert len(variants_in(place.documents("photo", "file")[0])) == 2


def test_second_flush_and_savepoint_make_theirs(place: Place) -> None:
    def case(session: Session) -> None:
        first = Photo(file=picture())
        session.add(first)
        session.flush()
        with session.begin_nested():
            second = Photo(file=picture())
            session.add(second)
        added(session, third := Photo(named=picture()))
        files = made_paths(first.file, "thumb", "wide") | made_paths(second.file, "thumb", "wide")
        assert place.paths() == files | made_paths(third.named, "thumb")

    place.run(case)


def test_one_file_in_two_columns_has_variants_in_both(place: Place) -> None:
    """The second gets a copy, and copies of what was made of the first."""

    def case(session: Session) -> None:
        file = picture()
        row = added(session, Photo(file=file, named=file))
        assert place.paths() == made_paths(row.file, "thumb", "wide") | made_paths(row.named, "thumb", "wide")

    place.run(case)
    assert len(variants_in(place.documents("photo", "named")[0])) == 2


def test_failing_flush_leaves_nothing(place: Place) -> None:
    """The database refuses a row whose variants are stored already."""

    def case(session: Session) -> None:
        added(session, Person(kind="none", name="a"))
        with pytest.raises(IntegrityError):
            added(session, Person(kind="avatar", name="a", portrait=picture()))
        session.rollback()
        assert place.paths() == set()
        added(session, first := Person(kind="avatar", name="b", portrait=picture()))
        with pytest.raises(IntegrityError), session.begin_nested():
            added_in_savepoint = Person(kind="avatar", name="b", portrait=picture())
            session.add(added_in_savepoint)
        session.commit()
        assert place.paths() == made_paths(first.portrait, "thumb", "wide")

    place.run(case)


@pytest.mark.parametrize("made", [pytest.param(0, marks=pytest.mark.thorough), 2, pytest.param(5, marks=pytest.mark.thorough), 6])
def test_sweep_finds_what_a_killed_commit_left(tmp_path: Path, made: int) -> None:
    program = [sys.executable, "-m", "tests.variants.killed_commit", str(tmp_path), str(made)]
    ended = subprocess.run(program, check=False, timeout=100)
    assert ended.returncode == (0 if made == 6 else -signal.SIGKILL)
    store = LocalBackend("photos", tmp_path / "store")
    storages.register_backend(store)
    engine = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    try:
        for _ in range(2):
            list(sweep(killed_commit.Base.metadata, engine, grace=timedelta(0), delete=True, full=True, allow_many=True))
        left = [info.path for info in store.list("") if not info.path.startswith("staged/places/")]  # the sweep's own record
        assert len(left) == (8 if made == 6 else 0)
        with Session(engine) as session:
            assert len(session.scalars(select(killed_commit.Photo)).all()) == (2 if made == 6 else 0)
    finally:
        storages.clear_backends()
        engine.dispose()


def test_kept_variants_go_with_their_row(place: Place) -> None:
    def case(session: Session) -> None:
        row = added(session, Photo(file=picture(), named=picture()))
        row.file = picture()
        session.commit()
        assert place.paths() == made_paths(row.file, "thumb", "wide") | made_paths(row.named, "thumb")
        session.delete(row)
        session.commit()

    place.run(case)
    assert place.paths() == set()


def facts_of_row(session: Session) -> list[str]:
    (document,) = session.execute(text("SELECT file FROM photo")).scalars()
    return variants_in(json.loads(document))


def test_signed_url_of_a_listed_variant_is_the_stores_own(s3_server: Any) -> None:
    place = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}"
    storages.register_backend(ObstoreBackend("photos", place, **s3_options(s3_server)))
    configure_urls(secret="8mV0_zqPb-another-XkT3")
    engine = create_engine("sqlite://")
    try:
        with Session(engine) as session:
            Base.metadata.create_all(session.connection())
            row = added(session, Photo(named=picture()))
            session.expire_all()
            url = row.named.variant("thumb").sign()
            assert url.startswith(s3_server.endpoint)
            assert "_filerow/variants/" in url
            assert httpx.get(url, trust_env=False).content == row.named.variant("thumb").get_content()
            assert row.named.variant("wide").sign().startswith("/files/photos/")
            # no S3 signs for a month, and our route does
            longer = row.named.variant("thumb").sign(expires_in=30 * 86400)
            assert longer.startswith("/files/photos/")
            assert answer("GET", *parts(longer)).status == 200
    finally:
        engine.dispose()
        configure_urls()
        storages.clear_backends()


@pytest.mark.parametrize("limits", ["none", "answers-501", "answers-400", "ignores-conditions", "least"])
def test_a_commit_does_not_try_what_conditions_are_worth(s3_server: S3Server, tmp_path: Path, limits: str) -> None:
    """No path that is ours needs a condition, so a commit sends a request for each object, whatever the store can do."""
    engine = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    Base.metadata.create_all(engine)
    url = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}"
    with LimitedS3(s3_server, LIMITED.get(limits, Limits())) as limited, Session(engine) as session:
        storages.register_backend(ObstoreBackend("photos", url, **s3_options(limited.server)))
        file = added(session, Photo(file=picture(), pages=FileObjectList([picture()]))).file
        assert [(one.method, one.conditional) for one in limited.asked] == [("PUT", False)] * 5
        assert storages.get_backend("photos").exists(file.variant("thumb").path)
    storages.clear_backends()
    engine.dispose()


def test_registry_in_force_has_the_variants(place: Place) -> None:
    registry, own = StorageRegistry(), MemoryBackend("photos")
    registry.register_backend(own)
    with registry.active():
        place.run(lambda session: added(session, Photo(file=picture())) and None)
    assert place.paths() == set()
    assert sum(is_variant(info.path) for info in own.list("")) == 2


# SQLAlchemy throws a cancelled aiosqlite connection away without closing it, of which Python 3.13 warns
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_cancelled_commit_leaves_nothing_running(tmp_path: Path, photos: Slow) -> None:
    place = Place("async", tmp_path, photos)

    async def cancelled() -> None:
        with photos.inject(Fault("put", hang=5, paths=is_variant)):
            task = asyncio.ensure_future(place.run_async(lambda session: added(session, Photo(file=picture()))))
            while not photos.hanging:
                await asyncio.sleep(0.01)
            task.cancel()
            photos.release()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancelled())
    gc.collect()
    assert place.documents("photo", "file") == []
    assert place.paths() == set()
    place.close()


def test_event_names_the_file_that_was_refused(place: Place) -> None:
    found: list[Any] = []

    @subscribe("failed")
    def note(event: Event) -> None:
        found.append(event)

    try:
        with pytest.raises(VariantRefusedError):
            place.run(lambda session: added(session, Photo(file=picture(BROKEN, "broken.png"))))
    finally:
        unsubscribe(note)
    assert [(one.column, one.file["filename"]) for one in found] == [("file", "broken.png")]
