"""Columns of other libraries become ours: what the real packages wrote, and columns of paths and URLs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    JSON,
    Column,
    Engine,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    delete,
    func,
    insert,
    select,
    text,
    type_coerce,
    update,
)
from sqlalchemy.orm import Session

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.exceptions import StorageError
from filerow.maintenance import Progress, adopt, adopt_async, check
from filerow.testing import Fault, FaultyBackend
from tests.corpus import FILES
from tests.databases import EmptyDatabase
from tests.maintenance.legacy import (
    CONTENTS,
    WRITERS,
    KeptPaper,
    Picture,
    Plain,
    PlainPaper,
    contents,
    names,
    outbox,
)
from tests.maintenance.papers import codes, collect, collect_async, findings
from tests.maintenance.photos import PHOTOS, Photo, PhotoBase

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@pytest.fixture(params=["sync", "async"])
def run(request: pytest.FixtureRequest, database: EmptyDatabase) -> Callable[..., list[Progress]]:
    """Adopt either way."""

    def run(metadata: Any, column: str, **options: Any) -> list[Progress]:
        if request.param == "sync":
            return collect(adopt(metadata, database.engine(), column, **options))
        return collect_async(database, lambda engine: adopt_async(metadata, engine, column, **options))

    return run


def written(database: EmptyDatabase, folder: Path, library: str, model: Any = PlainPaper) -> Engine:
    """Return a database that a library has written, with our other tables beside."""
    engine = database.engine()
    WRITERS[library](engine, folder)
    model.metadata.create_all(engine)
    return engine


@pytest.mark.one_in(3)
@BOTH
@pytest.mark.parametrize("library", WRITERS)
@pytest.mark.parametrize("model", [PlainPaper, KeptPaper], ids=["plain", "outbox"])
def test_what_a_library_wrote_is_ours_afterwards(database: EmptyDatabase, folder: Path, library: str, model: Any) -> None:
    engine = written(database, folder, library, model)
    before = names()

    dry = [
        one for column in ("paper.file", "paper.pages") for one in collect(adopt(model.metadata, engine, column, dry_run=True))
    ]
    assert (sorted(codes(dry)), names()) == (["missing", "shared"], before)
    assert not any(one.changed for one in dry)
    assert dry[-1].would_change > 0

    progress = collect(adopt(model.metadata, engine, "paper.file"))
    pages = collect(adopt(model.metadata, engine, "paper.pages"))
    assert [(one.code, one.where, one.fixed) for one in findings(progress)] == [
        ("shared", "paper.file id=3", True), ("missing", "paper.file id=4", False),
    ]  # fmt: skip
    assert codes(pages) == []
    assert contents(engine, model) == {**CONTENTS, 4: []}
    assert before < names(), "the objects are where they were, and one was copied"
    assert len(names()) == len(before) + 1
    with Session(engine) as session:
        for row in session.scalars(select(model).where(model.id != 4)):
            for file in (row.file, *row.pages):
                if file is not None:
                    file.verify()
                    assert file.to_dict()["v"] == 1
                    assert (file.content_type, file.filename.endswith(".txt")) == ("text/plain", True)
                    assert None not in {file.checksum, file.etag, file.last_modified}
                    assert file.size == len(file.get_content())
        assert session.scalar(select(func.count()).where(model.file.is_(None))) == 1, "no JSON null is left"
        assert session.scalar(select(model.id).where(model.file.size == len(b"second"))) == 2

    assert [one for one in collect(adopt(model.metadata, engine, "paper.file")) if one.changed] == []
    deep = collect(check(model.metadata, engine, deep=True))
    assert [(one.code, one.where) for one in findings(deep)] == [("missing", "paper.file id=4")]
    behaves_as_our_own(engine, model)


@SQLITE
def test_failed_batch_is_undone_reported_and_resumed_next_run(
    database: EmptyDatabase, folder: Path, run: Callable[..., list[Progress]]
) -> None:
    engine = written(database, folder, "advanced-alchemy")
    before = names()
    storages.clear_backends()
    store = FaultyBackend(LocalBackend("docs", folder, fsync=False))
    storages.register_backend(store)
    seen: list[Progress] = []
    with store.inject(Fault("copy", error=OSError("no room"))), pytest.raises(StorageError, match="no room"):
        seen.extend(adopt(PlainPaper.metadata, engine, "paper.file"))
    assert [(one.code, one.where, "no room" in one.message) for one in findings(seen)] == [("stopped", "paper.file", True)]
    assert names() == before
    with store.inject(Fault("copy", error=OSError("no room"))), pytest.raises(StorageError, match="no room"):
        run(PlainPaper.metadata, "paper.file")
    assert codes(run(PlainPaper.metadata, "paper.file")) == ["shared", "missing"]
    assert len(names()) == len(before) + 1


def behaves_as_our_own(engine: Any, model: Any) -> None:
    """Replace, delete and change lists of adopted rows: objects go when and only when they should."""
    with Session(engine) as session:
        first, second, third = (session.get_one(model, number) for number in (1, 2, 3))
        gone = [first.file.path, first.pages[0].path, second.file.path]
        kept = [third.file.path, first.pages[1].path]
        first.file = FileObject(content=b"replaced")
        first.pages.pop(0)
        session.delete(second)
        session.commit()
    if model is KeptPaper:
        with engine.connect() as connection:
            assert set(connection.scalars(select(outbox.table.c.path))) >= set(gone)
        with engine.begin() as connection:
            connection.execute(update(outbox.table).values(dropped_at=0))
        outbox.drain(engine, take_over=True)
    assert not names() & set(gone)
    assert names() >= set(kept)
    assert contents(engine, model) == {1: [b"replaced", b"page 2"], 3: [b"first"], 4: [], 5: []}


@SQLITE
def test_what_sqlalchemy_file_says_besides_becomes_metadata(
    database: EmptyDatabase, folder: Path, run: Callable[..., list[Progress]]
) -> None:
    engine = written(database, folder, "sqlalchemy-file")
    progress = run(Plain.metadata, "picture.file")
    run(Plain.metadata, "paper.pages")
    with Session(engine) as session:
        file = session.get_one(Picture, 1).file
        assert file is not None
        thumbnail = file.metadata["thumbnail"]
        assert (thumbnail["width"], thumbnail["height"]) == (8, 8)
        assert file.metadata["files"] == [thumbnail["path"]]
        assert (file.filename, file.content_type) == ("cat.png", "image/png")
        file.verify()
        pages = session.get_one(PlainPaper, 1).pages
        assert [page.metadata for page in pages] == [{"page": 1}, {"page": 2}]
    assert [(one.code, one.level) for one in findings(progress)] == [("further-objects", "warning")]
    assert thumbnail["path"] in findings(progress)[0].message


@SQLITE
def test_a_backend_may_be_called_otherwise_than_its_storage(database: EmptyDatabase, folder: Path) -> None:
    """And the outbox does not take that for a file that has gone."""
    engine = written(database, folder, "sqlalchemy-file", KeptPaper)
    storages.register_backend(LocalBackend("media", folder, fsync=False))
    collect(adopt(KeptPaper.metadata, engine, "paper.file", backend="media"))
    with Session(engine) as session:
        paper = session.get_one(KeptPaper, 2)
        assert paper.file is not None
        assert (paper.file.backend_key, paper.file.get_content()) == ("media", b"second")
        assert session.scalar(select(func.count()).where(outbox.table.c.path == paper.file.path)) == 0
    storages.unregister_backend("docs")
    progress = collect(adopt(KeptPaper.metadata, engine, "paper.pages"))
    assert codes(progress) == ["unknown-backend", "unknown-backend"]


@SQLITE
def test_missing_files_are_taken_out_of_their_rows_on_request(
    database: EmptyDatabase, folder: Path, run: Callable[..., list[Progress]]
) -> None:
    engine = written(database, folder, "advanced-alchemy")
    (folder / "some" / "1-1.txt").unlink()
    progress = [run(Plain.metadata, column, missing="null") for column in ("paper.file", "paper.pages")]
    missing = [one for steps in progress for one in findings(steps) if one.code == "missing"]
    assert [one.fixed for one in missing] == [True, True]
    with Session(engine) as session:
        assert session.get_one(PlainPaper, 4).file is None
    assert contents(engine, PlainPaper) == {**CONTENTS, 1: [b"first", b"page 2"], 4: []}


@SQLITE
def test_a_store_that_holds_nothing_at_all_empties_no_row(database: EmptyDatabase, folder: Path) -> None:
    """As a disk that is not mounted."""
    engine = written(database, folder, "advanced-alchemy")
    storages.unregister_backend("docs")
    storages.register_backend(LocalBackend("docs", folder / "elsewhere", fsync=False))
    progress = collect(adopt(Plain.metadata, engine, "paper.file", missing="null"))
    assert {(one.code, one.fixed) for one in findings(progress)} == {("missing", False)}
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).where(PlainPaper.file.is_not(None))) == 4


@SQLITE
def test_without_reading_only_the_store_is_asked(database: EmptyDatabase, folder: Path) -> None:
    engine = written(database, folder, "sqlalchemy-file")
    progress = collect(adopt(Plain.metadata, engine, "paper.file", read=False))
    assert progress[-1].transferred == 0
    with Session(engine) as session:
        file = session.get_one(PlainPaper, 2).file
        assert file is not None
        assert (file.size, file.checksum, file.content_type) == (6, None, "text/plain")
        assert file.etag
    assert collect(adopt(Plain.metadata, engine, "paper.file"))[-1].transferred > 0, "checksums can be filled in later"
    with Session(engine) as session:
        file = session.get_one(PlainPaper, 2).file
        assert file is not None
        file.verify()
        assert file.checksum


@SQLITE
def test_a_row_that_changes_meanwhile_is_looked_at_again(database: EmptyDatabase, folder: Path) -> None:
    engine = written(database, folder, "advanced-alchemy")

    class Disturbed(LocalBackend):
        """Somebody replaces a file and deletes a row while objects are being looked at."""

        disturbed = False

        def _head(self, path: str) -> Any:
            if not self.disturbed:
                self.disturbed = True
                with Session(engine) as session:
                    session.get_one(PlainPaper, 1).file = FileObject(content=b"replaced")
                    session.delete(session.get_one(PlainPaper, 2))
                    session.commit()
            return super()._head(path)

    storages.unregister_backend("docs")
    storages.register_backend(Disturbed("docs", folder, fsync=False))
    # The row that shares the first one's object has lost it, as it would have before: whoever replaces a file deletes it.
    codes(collect(adopt(Plain.metadata, engine, "paper.file", concurrency=1)))
    assert contents(engine, PlainPaper)[1] == [b"replaced", b"page 1", b"page 2"]
    assert 2 not in contents(engine, PlainPaper)
    assert [one.changed for one in collect(adopt(Plain.metadata, engine, "paper.file"))] in ([0], [])


# -- columns of paths and URLs -------------------------------------------------------------------------------------------

STRINGS: dict[int, tuple[str | None, bytes | None]] = {
    1: ("photos/a.png", b"a"),
    2: ("/photos/b.png", b"b"),
    3: ("https://cdn.example/media/photos/c%20d.png?X-Signature=abc#top", b"c d"),
    4: ("uploads/e.txt", b"e"),
    5: ("uploads2/f.txt", b"f"),
    6: ("photos/a.png", b"a"),
    7: ("", None),
    8: (None, None),
    9: ("https://evil.example/media/photos/a.png", None),
    10: ("http://127.0.0.1:1/metadata", None),
    11: ("photos/missing.png", None),
    12: ("../secret.txt", None),
    13: ("data:image/png;base64,AAAA", None),
    14: ("//cdn.example/media/photos/a.png", b"a"),
    15: ("https://cdn.example/media/", None),
}
STRIP = ["uploads/=other", "https://cdn.example/media/", "//cdn.example/media"]


@pytest.fixture
def strings(database: EmptyDatabase, folder: Path) -> Any:
    """A table with a column of strings, and the objects they name in two backends."""
    storages.register_backend(LocalBackend("other", folder.parent / "other", fsync=False))
    for path, content in {"photos/a.png": b"a", "photos/b.png": b"b", "photos/c d.png": b"c d", "uploads2/f.txt": b"f"}.items():
        storages.get_backend("docs").put(path, content)
    storages.get_backend("other").put("e.txt", b"e")
    (folder.parent / "secret.txt").write_bytes(b"secret")
    engine = database.engine()
    PhotoBase.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(PHOTOS), [{"id": number, "photo_path": name} for number, (name, _) in STRINGS.items()])
    return engine


@pytest.mark.parametrize(("database", "batch"), [("sqlite", 1), ("postgresql", 100)], indirect=["database"])
def test_strings_become_files(strings: Any, run: Callable[..., list[Progress]], batch: int) -> None:
    options: dict[str, Any] = {"source": "photo.photo_path", "strip": STRIP, "batch": batch}
    progress = run(PhotoBase.metadata, "photo.file", **options)
    assert [(one.code, one.where) for one in findings(progress)] == [
        ("shared", "photo.file id=6"), ("url", "photo.file id=9"), ("url", "photo.file id=10"),
        ("missing", "photo.file id=11"), ("unreadable", "photo.file id=12"), ("url", "photo.file id=13"),
        ("shared", "photo.file id=14"), ("url", "photo.file id=15"),
    ]  # fmt: skip
    assert (progress[-1].done, progress[-1].total, progress[-1].changed) == (13, 13, 7)
    with Session(strings) as session:
        photos = session.scalars(select(Photo)).all()
        assert {photo.id: photo.file and photo.file.get_content() for photo in photos} == {
            number: content for number, (_, content) in STRINGS.items()
        }
        assert len({(photo.file.backend_key, photo.file.path) for photo in photos if photo.file}) == 7
        assert {photo.id: photo.photo_path for photo in photos} == {number: name for number, (name, _) in STRINGS.items()}
        third, fourth = session.get_one(Photo, 3).file, session.get_one(Photo, 4).file
        assert third is not None
        assert fourth is not None
        assert (third.filename, third.path, fourth.backend_key, fourth.path) == ("c d.png", "photos/c d.png", "other", "e.txt")
        assert third.content_type == "application/octet-stream", "the bytes prove no image"
        assert fourth.content_type == "text/plain"
    again = run(PhotoBase.metadata, "photo.file", **options)
    assert (again[-1].changed, again[-1].done) == (0, 6)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_no_row_adopts_a_variant_as_its_own_file(strings: Any, run: Callable[..., list[Progress]]) -> None:
    """A sweep asks no row before it deletes one."""
    variant = f"_filerow/variants/photos/a.png/{'0' * 32}.webp"
    storages.get_backend("docs").put(variant, b"thumb")
    with strings.begin() as connection:
        connection.execute(delete(PHOTOS))
        connection.execute(insert(PHOTOS), [{"id": 1, "photo_path": variant}])
    progress = run(PhotoBase.metadata, "photo.file", source="photo.photo_path")
    assert [(one.code, one.where) for one in findings(progress)] == [("unreadable", "photo.file id=1")]
    assert progress[-1].changed == 0


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_what_is_in_an_adopted_container_is_found(strings: Any, run: Callable[..., list[Progress]]) -> None:
    sound = (FILES / "sound-moov-last.mp4").read_bytes()
    start = int.from_bytes(sound[:4])
    late = sound[:start] + (500_008).to_bytes(4) + b"free" + bytes(500_000) + sound[start:]
    docs = storages.get_backend("docs")
    docs.delete(["photos/a.png", "photos/b.png"])
    docs.put("photos/a.png", late)
    docs.put("photos/b.png", (FILES / "document-thumbnail.docx").read_bytes())
    run(PhotoBase.metadata, "photo.file", source="photo.photo_path", strip=STRIP)
    with Session(strings) as session:
        found = {photo.file.path: photo.file.content_type for photo in session.scalars(select(Photo)) if photo.file}
    assert found["photos/a.png"] == "audio/mp4"
    assert found["photos/b.png"].endswith("wordprocessingml.document")


@SQLITE
def test_a_string_that_changes_meanwhile_is_read_again(strings: Any) -> None:
    class Disturbed(LocalBackend):
        disturbed = False

        def _head(self, path: str) -> Any:
            if not self.disturbed:
                self.disturbed = True
                with strings.begin() as connection:
                    connection.execute(update(PHOTOS).where(text("id = 1")).values(photo_path="photos/b.png"))
                    connection.execute(update(PHOTOS).where(text("id = 2")).values(photo_path=None))
            return super()._head(path)

    folder = storages.get_backend("docs")
    storages.unregister_backend("docs")
    storages.register_backend(Disturbed("docs", folder.root, fsync=False))  # type: ignore[attr-defined]
    collect(adopt(PhotoBase.metadata, strings, "photo.file", source="photo.photo_path", strip=STRIP))
    with Session(strings) as session:
        first, second = session.get_one(Photo, 1), session.get_one(Photo, 2)
        assert first.file is not None
        assert (first.file.get_content(), second.file) == (b"b", None)


@SQLITE
def test_the_stored_string_counts_and_not_its_type_s_result(strings: Any) -> None:
    class Length(TypeDecorator[Any]):
        impl = String(300)
        cache_ok = True

        def process_result_value(self, value: Any, dialect: Any) -> Any:
            return None if value is None else len(value)

    metadata = MetaData()
    photo = Table("photo", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    photo.append_column(Column("photo_path", Length))
    collect(adopt(metadata, strings, "photo.file", source="photo.photo_path"))
    with strings.connect() as connection:
        found = connection.execute(select(photo.c.file).where(photo.c.id == 2)).scalar_one()
        assert (found.path, found.get_content()) == ("photos/b.png", b"b")


@SQLITE
def test_what_cannot_begin_says_why(database: EmptyDatabase, folder: Path) -> None:
    engine = database.engine()
    for options, message in (
        ({"source": "paper.nothing"}, r"another column of the same table \(paper\.id, paper\.pages\)"),
        ({"source": "paper.id"}, "a column of strings or of JSON documents, but 'paper.id' is Integer"),
        ({"source": "paper.pages"}, "a column of strings or of JSON documents, but 'paper.pages' is"),
        ({"strip": ["uploads/"]}, "source="),
        ({"missing": "delete"}, "'report' or 'null'"),
    ):
        with pytest.raises(ValueError, match=message):
            adopt(Plain.metadata, engine, "paper.file", **options)  # type: ignore[arg-type]
    for options in ({"source": "paper.pages", "strip": ["uploads/=nowhere"]}, {"backend": "nowhere"}):
        with pytest.raises(LookupError, match="nowhere"):
            adopt(Plain.metadata, engine, "paper.file", **options)  # type: ignore[arg-type]


@SQLITE
def test_documents_of_the_wrong_shape_are_put_right_or_named(database: EmptyDatabase, folder: Path) -> None:
    engine = database.engine()
    Plain.metadata.create_all(engine)
    storages.get_backend("docs").put("a", b"a")
    theirs = {"backend": "docs", "filename": "a"}
    table: Any = PlainPaper.__table__
    shapes: list[tuple[Any, Any]] = [([theirs], []), ([theirs, theirs], theirs), ({"nonsense": 1}, ["nonsense"]), ([], [])]
    with engine.begin() as connection:
        for number, (file, pages) in enumerate(shapes, 1):
            values = {"file": type_coerce(file, JSON), "pages": type_coerce(pages, JSON)}
            connection.execute(insert(table).values(id=number, **values))
    progress = [collect(adopt(Plain.metadata, engine, column)) for column in ("paper.file", "paper.pages")]
    assert [(one.code, one.where) for one in findings([one for steps in progress for one in steps])] == [
        ("unreadable", "paper.file id=2"), ("unreadable", "paper.file id=3"),
        ("shared", "paper.pages id=2"), ("unreadable", "paper.pages id=3"),
    ]  # fmt: skip
    with Session(engine) as session:
        first, second, fourth = (session.get_one(PlainPaper, number) for number in (1, 2, 4))
        assert first.file is not None
        assert first.file.get_content() == second.pages[0].get_content() == b"a"
        assert fourth.file is None


# -- one object has one row, whatever another row calls it -----------------------------------------------------------------


def cats(database: EmptyDatabase, *values: tuple[str, Any]) -> tuple[MetaData, Engine]:
    """Return a table with rows that name ``cat.png``: each a column and its JSON."""
    metadata, engine = MetaData(), database.engine()
    file, pages = StoredObject("docs"), StoredObject("docs", multiple=True)
    Table("cat", metadata, Column("id", Integer, primary_key=True), Column("file", file), Column("pages", pages))
    metadata.create_all(engine)
    with engine.begin() as connection:
        for column, value in values:
            plain = Table("cat", MetaData(), Column("id", Integer, primary_key=True), Column(column, JSON(none_as_null=True)))
            connection.execute(insert(plain).values({column: value}))
    return metadata, engine


LEGACY = {"filename": "cat.png", "backend": "docs", "size": 1}
OURS = {"v": 1, "backend": "docs", "path": "cat.png", "filename": "cat.png", "size": 1, "checksum": f"sha256:{'0' * 64}"}
OTHERS: dict[str, tuple[str, Any]] = {
    "alias": ("file", {**OURS, "backend": "alias"}),
    "former": ("pages", [{**OURS, "backend": "former"}]),
    "version": ("file", {**OURS, "v": 2}),
    "version_without_a_path": ("file", {"v": 2, "backend": "docs", "object": {"name": "cat.png"}}),
    "shape": ("pages", OURS),
}


@BOTH
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.one_in(2)
def test_an_object_that_a_row_names_otherwise_is_copied(database: EmptyDatabase, folder: Path, other: str) -> None:
    storages.register_backend(LocalBackend("alias", folder, fsync=False))
    storages.get_backend("docs").put("cat.png", b"x")
    metadata, engine = cats(database, ("file", LEGACY), OTHERS[other])
    steps = collect(adopt(metadata, engine, "cat.file"))
    assert "shared" in codes(steps)
    with Session(engine) as session:
        adopted = session.scalars(select(metadata.tables["cat"].c.file).where(metadata.tables["cat"].c.id == 1)).one()
        assert adopted is not None
        assert (adopted.path != "cat.png", adopted.get_content()) == (True, b"x")


@BOTH
def test_the_same_path_in_another_place_is_another_object(database: EmptyDatabase, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    storages.register_backend(LocalBackend("other", tmp_path / "other", fsync=False))
    storages.register_backend(LocalBackend("empty", tmp_path, fsync=False))
    for key in ("docs", "other"):
        storages.get_backend(key).put("cat.png", b"x")
    metadata, engine = cats(
        database,
        ("file", LEGACY),
        ("file", {**LEGACY, "backend": "other"}),
        ("file", {**OURS, "backend": "empty"}),  # its object is gone
    )
    assert not codes(collect(adopt(metadata, engine, "cat.file")))
    with engine.connect() as connection:
        found = connection.scalars(select(metadata.tables["cat"].c.file).order_by(metadata.tables["cat"].c.id)).all()
    assert [(one.backend_key, one.path) for one in found if one] == [(key, "cat.png") for key in ("docs", "other", "empty")]


@BOTH
def test_two_keys_of_one_place_adopt_an_object_once(database: EmptyDatabase, folder: Path) -> None:
    storages.register_backend(LocalBackend("alias", folder, fsync=False))
    storages.get_backend("docs").put("cat.png", b"x")
    metadata, engine = cats(database, ("file", LEGACY), ("file", {**LEGACY, "backend": "alias"}))
    assert codes(collect(adopt(metadata, engine, "cat.file"))) == ["shared"]
    with engine.connect() as connection:
        first, second = connection.scalars(select(metadata.tables["cat"].c.file).order_by(metadata.tables["cat"].c.id)).all()
    assert first is not None
    assert second is not None
    assert first.path == "cat.png" != second.path
