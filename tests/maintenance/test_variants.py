"""``filerow variants``: makes the variants that a column's files lack, and removes those that it declares no more."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, Table, create_engine, insert, select, text, update

from filerow import FileObject, StoredObject, storages
from filerow.backends.base import StorageBackend
from filerow.backends.local import LocalBackend
from filerow.exceptions import MaintenanceRefusedError, StorageError, WorkerError
from filerow.maintenance import Progress, sweep, variants, variants_async
from filerow.outbox import Outbox
from filerow.variants import Recipe, Resize, Thumbnail, configure
from tests.databases import EmptyDatabase
from tests.maintenance.place import DAY, Place, findings, old_path
from tests.places import know_places
from tests.variants.pictures import four_colours, saved, seen

pytestmark = pytest.mark.usefixtures("variant_workers")

THUMB, SMALL, OLD = Thumbnail(20, 20), Resize(width=30, format="png"), Thumbnail(10, 10)
PHOTO = saved(four_colours())
NOW = timedelta(0)


def tables(**recipes: Recipe) -> MetaData:
    metadata = MetaData()
    Table(
        "user",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("photo", StoredObject("docs", variants=recipes or {"thumb": THUMB, "small": SMALL})),
        Column("album", StoredObject("docs", multiple=True, variants=recipes or {"thumb": THUMB})),
        Column("plain", StoredObject("docs")),
    )
    Outbox(metadata)
    return metadata


@pytest.fixture
def gallery(database: EmptyDatabase, store: Any) -> Place:
    """Users with photos, in any database and store."""
    return Place(database, store, tables())


def photo(place: Place, content: bytes = PHOTO, column: str = "photo", **facts: Any) -> FileObject:
    """Store a photo and its row, and no variant."""
    path = place.put(old_path("user", column), content=content)
    document = {"v": 1, "backend": "docs", "path": path, "filename": "a.png", "content_type": "image/png", **facts}
    place.row(f"user.{column}", [document] if column == "album" else document)
    return FileObject.from_dict(document)


def made(place: Place) -> set[str]:
    return {path for path in place.paths() if path.startswith("_filerow/")}


def run(place: Place, *args: Any, metadata: MetaData | None = None, **options: Any) -> Progress:
    """Run it to its end, and return the last progress with all findings."""
    steps = list(variants(metadata or place.metadata, place.engine, *args, **options))
    return Progress(steps[-1].step, *_figures(steps[-1]), findings=tuple(findings(steps)), cursor=steps[-1].cursor)


def _figures(one: Progress) -> tuple[Any, ...]:
    return one.done, one.total, one.transferred, one.changed, one.would_change


def documents(place: Place, column: str = "photo") -> list[Any]:
    plain = Table("user", MetaData(), Column("id", Integer, primary_key=True), Column(column, JSON(none_as_null=True)))
    with place.engine.connect() as connection:
        return list(connection.scalars(select(plain.c[column]).where(plain.c[column].is_not(None)).order_by(plain.c.id)))


EVERYWHERE = pytest.mark.parametrize(
    ("database", "store"), [("sqlite", "local"), ("postgresql", "s3")], indirect=["database", "store"]
)
HERE = pytest.mark.parametrize(("database", "store"), [("sqlite", "local")], indirect=["database", "store"])


@EVERYWHERE
def test_missing_variants_of_a_column_are_made(gallery: Place) -> None:
    files = [photo(gallery) for _ in range(3)]
    photo(gallery, column="album")
    assert files[0].variant(THUMB).get_content()
    dry = run(gallery, "user.photo", dry_run=True, batch=2)
    assert (dry.done, dry.changed, dry.would_change, len(made(gallery))) == (3, 0, 5, 1)
    done = run(gallery, "user.photo", batch=2)
    assert (done.done, done.total, done.changed, done.would_change, done.findings) == (3, 3, 5, 0, ())
    assert made(gallery) == {one.variant(recipe).path for one in files for recipe in (THUMB, SMALL)}
    backend = storages.get_backend("docs")
    contents = [backend.read(one.variant(THUMB).path) for one in files]
    assert {seen(content).size for content in contents} == {(20, 20)}
    assert done.transferred > 0
    assert run(gallery, "user.photo").changed == 0


@HERE
def test_only_the_named_variants_are_made_and_lists_work_too(gallery: Place) -> None:
    one, other = photo(gallery), photo(gallery, column="album")
    assert run(gallery, "user.photo", ["small"]).changed == 1
    assert made(gallery) == {one.variant(SMALL).path}
    assert run(gallery, "user.album").changed == 1
    assert other.variant(THUMB).path in made(gallery)


@pytest.mark.parametrize(("database", "store"), [("postgresql", "s3")], indirect=["database", "store"])
def test_the_asynchronous_twin_makes_the_same(gallery: Place) -> None:
    files = [photo(gallery) for _ in range(3)]
    steps = gallery.in_a_loop(variants_async, column="user.photo", batch=2)
    assert steps[-1].changed == 6
    assert made(gallery) == {one.variant(recipe).path for one in files for recipe in (THUMB, SMALL)}
    gallery.in_a_loop(variants_async, column="user.photo", prune=True, older_than=NOW)
    assert len(made(gallery)) == 6


@HERE
def test_what_cannot_be_made_is_a_finding_and_others_are_made(gallery: Place) -> None:
    broken = photo(gallery, content=b"not an image")
    lost = photo(gallery)
    storages.get_backend("docs").delete(lost.path)
    photo(gallery, content=b"%PDF", content_type="application/pdf")  # nothing makes anything of it, and nobody expects that
    gallery.row("user.photo", {"v": 1, "backend": "gone", "path": "a.png", "filename": "a.png"})
    gallery.row("user.photo", {"v": 1, "backend": "docs", "path": "x" * 950, "filename": "a.png", "content_type": "image/png"})
    gallery.row("user.photo", {"v": 1, "nonsense": True})
    right = photo(gallery)
    done = run(gallery, "user.photo")
    found = [(one.code, one.level, one.path) for one in done.findings]
    assert sorted(found) == sorted(
        [
            *[("not-made", "warning", broken.path)] * 2,
            *[("missing", "error", lost.path)] * 2,
            ("not-made", "warning", "x" * 950),
            ("unknown-backend", "error", ""),
            ("unreadable", "error", ""),
        ]
    )
    assert {right.variant(THUMB).path, right.variant(SMALL).path} <= made(gallery)
    assert done.changed == 2
    again = run(gallery, "user.photo")  # noted, and not tried again today
    assert [one.code for one in again.findings] == [one.code for one in done.findings]


@HERE
def test_interrupted_makings_continue_after_their_cursor(gallery: Place) -> None:
    files = [photo(gallery) for _ in range(4)]
    steps = variants(gallery.metadata, gallery.engine, "user.photo", batch=2)
    cursor = next(iter(steps)).cursor
    steps.close()  # type: ignore[attr-defined]
    for path in made(gallery):
        storages.get_backend("docs").delete(path)
    assert run(gallery, "user.photo", resume=cursor).changed == 4
    assert made(gallery) == {one.variant(recipe).path for one in files[2:] for recipe in (THUMB, SMALL)}


class Unwritable(LocalBackend):
    """A directory on a full disk."""

    def _put(self, path: str, content: Any, options: Any) -> Any:
        if path.startswith("_filerow/"):
            msg = "no space left"
            raise StorageError(msg, operation="put", backend=self.key, path=path)
        return super()._put(path, content, options)


@HERE
def test_a_store_that_fails_ends_it_with_a_cursor(gallery: Place) -> None:
    photo(gallery)
    backend: Any = storages.get_backend("docs")
    storages.unregister_backend("docs")
    storages.register_backend(Unwritable("docs", backend.root, fsync=False))
    steps: list[Progress] = []
    with pytest.raises(StorageError, match="made and is not stored"):
        steps.extend(variants(gallery.metadata, gallery.engine, "user.photo"))
    assert [one.code for one in findings(steps)] == ["stopped"]


@HERE
def test_without_workers_nothing_is_made_and_the_error_says_so(gallery: Place) -> None:
    photo(gallery)
    with configure(executable="/does/not/exist"):
        with pytest.raises(WorkerError):
            list(variants(gallery.metadata, gallery.engine, "user.photo"))
        assert run(gallery, "user.photo", dry_run=True).would_change == 2
    configure(workers=2, queue_seconds=60)


@HERE
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"column": "user.plain"}, "user.plain declares no variants"),
        ({"column": "user.photo", "names": ["large"]}, "has no variant 'large'; it declares thumb, small"),
        ({"column": "user.photo", "names": ["thumb"], "prune": True}, "prune (--prune) looks at all"),
        ({"column": "user.photo", "batch": 0}, "must be 1 or more"),
        ({"column": "user.photo", "older_than": timedelta(-1)}, "older_than 0 or more"),
        ({"column": "user.image"}, "user.image"),
    ],
)
def test_options_of_variants_are_checked_at_once(gallery: Place, options: Mapping[str, Any], says: str) -> None:
    with pytest.raises((ValueError, LookupError), match=re.escape(says)):
        variants(gallery.metadata, gallery.engine, **options)


# -- old ones --------------------------------------------------------------------------------------------------------------


def age(place: Place, path: str, seconds: float) -> None:
    backend: Any = storages.get_backend("docs")
    moment = time.time() - seconds
    os.utime(backend.root / path, (moment, moment))


@EVERYWHERE
def test_undeclared_variants_and_notes_are_removed(gallery: Place) -> None:
    one, broken = photo(gallery), photo(gallery, content=b"not an image")
    other = photo(gallery, column="album")
    for recipe in (THUMB, SMALL, OLD):
        one.variant(recipe).get_content()
    other.variant(OLD).get_content()
    run(gallery, "user.photo", ["thumb"])
    note = f"{broken.variant(THUMB).path.rpartition('.')[0]}.failed"
    old = one.variant(OLD).path
    before = made(gallery)
    assert before == {old, note, other.variant(OLD).path, one.variant(THUMB).path, one.variant(SMALL).path}
    assert run(gallery, "user.photo", prune=True).changed == 0  # nothing is a month old
    dry = run(gallery, "user.photo", prune=True, older_than=NOW, dry_run=True)
    assert (dry.changed, dry.would_change) == (0, 2)
    assert made(gallery) == before
    assert run(gallery, "user.photo", prune=True, older_than=NOW).changed == 2
    assert made(gallery) == before - {old, note}
    changed = tables(thumb=OLD)  # the recipe was changed
    assert run(gallery, "user.photo", metadata=changed, prune=True, older_than=NOW).changed == 2
    assert made(gallery) == {other.variant(OLD).path}


@HERE
def test_only_old_enough_variants_are_removed(gallery: Place) -> None:
    one = photo(gallery)
    one.variant(OLD).get_content()
    age(gallery, one.variant(OLD).path, 29 * DAY)
    assert run(gallery, "user.photo", prune=True).changed == 0
    age(gallery, one.variant(OLD).path, 31 * DAY)
    assert run(gallery, "user.photo", prune=True).changed == 1


@EVERYWHERE
def test_documents_no_longer_list_what_is_removed(gallery: Place) -> None:
    names = {"thumb": FileObject.from_dict({"v": 1, "backend": "docs", "path": old_path("user", "photo"), "filename": "a"})}
    ids = [names["thumb"].variant(recipe).id for recipe in (THUMB, OLD)]
    first = photo(gallery, variants=ids, width=80, height=40, later="field")
    second = photo(gallery, variants=ids[1:])
    listed = photo(gallery, column="album", variants=ids)
    for one in (first, second, listed):
        for recipe in (THUMB, OLD):
            one.variant(recipe).get_content()
    assert run(gallery, "user.photo", prune=True, older_than=NOW).changed == 2
    one, other = documents(gallery)
    assert (one["variants"], one["width"], one["later"]) == (ids[:1], 80, "field")
    assert "variants" not in other
    assert run(gallery, "user.album", prune=True, older_than=NOW).changed == 1
    assert documents(gallery, "album")[0][0]["variants"] == ids[:1]
    assert not list(gallery.engine.connect().execute(select(gallery.metadata.tables["filerow_outbox"].c.path)))


@EVERYWHERE
def test_what_another_row_lists_or_declares_stays(gallery: Place) -> None:
    """Several rows may name one object: those of columns with lifecycle=False, and of a table that was copied."""
    shared = photo(gallery, variants=[photo(gallery).variant(OLD).id])
    gallery.row("user.album", [shared.to_dict()])
    for recipe in (THUMB, SMALL, OLD):
        shared.variant(recipe).get_content()
    assert run(gallery, "user.album", prune=True, older_than=NOW).changed == 0  # photo declares one, and lists the other
    assert len(made(gallery)) == 3
    assert run(gallery, "user.photo", prune=True, older_than=NOW).changed == 1
    assert made(gallery) == {shared.variant(THUMB).path, shared.variant(SMALL).path}


UNCLEAR: list[Mapping[str, Any]] = [
    {"v": 2, "later": True},
    {"variants": {"a later release": "keeps them so"}},
    {"size": "many"},
    {"backend": "former"},
    {"backend": "alias"},
]


@pytest.mark.parametrize("changes", UNCLEAR, ids=",".join)
@HERE
def test_what_a_row_names_in_another_way_stays(gallery: Place, changes: Mapping[str, Any]) -> None:
    """A document of a later release, or under another key of the same place, may list any variant."""
    backend: Any = storages.get_backend("docs")
    storages.register_backend(LocalBackend("alias", backend.root, fsync=False))
    ids = [photo(gallery).variant(OLD).id]
    shared = photo(gallery, variants=ids)
    gallery.row("user.plain", {**shared.to_dict(), **changes})
    shared.variant(OLD).get_content()
    done = run(gallery, "user.photo", prune=True, older_than=NOW)
    assert (done.changed, made(gallery)) == (0, {shared.variant(OLD).path})
    reported = {one.code for one in done.findings}
    assert reported == (set() if "backend" in changes else {"unreadable-documents"})


def filtered_by_a_policy(place: Place) -> tuple[MetaData, Engine]:
    role = f"pruning_{place.engine.url.database}"
    with place.engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {role} LOGIN"))
        connection.execute(text(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"))
        connection.execute(text('ALTER TABLE "user" ENABLE ROW LEVEL SECURITY'))
        connection.execute(text('CREATE POLICY photos ON "user" USING (album IS NULL)'))
    return place.metadata, create_engine(place.engine.url.set(username=role))


def through_a_view(place: Place) -> tuple[MetaData, Engine]:
    with place.engine.begin() as connection:
        connection.execute(text('CREATE VIEW photographer AS SELECT * FROM "user" WHERE album IS NULL'))
    metadata = MetaData()
    kind = StoredObject("docs", variants={"thumb": THUMB})
    Table("photographer", metadata, Column("id", Integer, primary_key=True), Column("photo", kind))
    Outbox(metadata)
    return metadata, create_engine(place.engine.url)


@pytest.mark.parametrize(
    ("database", "store", "hide"),
    [("postgresql", "local", filtered_by_a_policy), ("postgresql", "local", through_a_view)],
    indirect=["database", "store"],
)
@pytest.mark.one_in(1)
def test_who_may_not_see_all_rows_prunes_nothing(gallery: Place, hide: Callable[[Place], tuple[MetaData, Engine]]) -> None:
    ids = [photo(gallery).variant(OLD).id]
    shared = photo(gallery)
    gallery.row("user.album", [{**shared.to_dict(), "variants": ids}])
    shared.variant(OLD).get_content()
    metadata, engine = hide(gallery)
    (column,) = {name for table in metadata.tables.values() for name in [f"{table.name}.photo"] if "photo" in table.columns}
    for options in ({}, {"dry_run": True}):
        with pytest.raises(MaintenanceRefusedError):
            list(variants(metadata, engine, column, prune=True, older_than=NOW, **options))
    engine.dispose()
    assert made(gallery) == {shared.variant(OLD).path}
    with gallery.engine.begin() as connection:
        if metadata is gallery.metadata:
            connection.execute(text(f"DROP OWNED BY {engine.url.username}"))
            connection.execute(text(f"DROP ROLE {engine.url.username}"))


class Changing(LocalBackend):
    """A directory; while variants are listed, somebody changes the row."""

    change: Any = None

    def _list(self, prefix: str, start_after: str) -> Any:
        change, self.change = self.change, None
        if change is not None and prefix.startswith("_filerow/"):
            change()
        return super()._list(prefix, start_after)


@HERE
def test_a_row_that_changes_meanwhile_keeps_its_variants(gallery: Place) -> None:
    one = photo(gallery, variants=[photo(gallery).variant(OLD).id])
    one.variant(OLD).get_content()
    backend: Any = storages.get_backend("docs")
    storages.unregister_backend("docs")
    storages.register_backend(changing := Changing("docs", backend.root, fsync=False))
    plain = Table("user", MetaData(), Column("id", Integer, primary_key=True), Column("photo", JSON))
    rewritten = {**documents(gallery)[1], "filename": "other.png"}

    def change() -> None:
        with gallery.engine.begin() as connection:
            connection.execute(update(plain).where(plain.c.id == 2).values(photo=rewritten))

    changing.change = change
    done = run(gallery, "user.photo", prune=True, older_than=NOW)
    assert (done.changed, [one.code for one in done.findings]) == (0, ["changed-meanwhile"])
    assert made(gallery)
    assert run(gallery, "user.photo", prune=True, older_than=NOW).changed == 1


@HERE
def test_a_guest_and_a_copy_of_the_database_prune_nothing(gallery: Place, tmp_path: Path) -> None:
    one = photo(gallery)
    one.variant(OLD).get_content()
    backend = storages.get_backend("docs")
    storages.unregister_backend("docs")
    storages.register_backend(backend, deletes=False)
    done = run(gallery, "user.photo", prune=True, older_than=NOW)
    assert (done.changed, [one.code for one in done.findings]) == (0, ["guest"])
    storages.unregister_backend("docs")
    storages.register_backend(backend)
    _taken_over_by_another(backend, tmp_path)
    with pytest.raises(MaintenanceRefusedError):
        run(gallery, "user.photo", prune=True, older_than=NOW)
    assert made(gallery)


def _taken_over_by_another(backend: StorageBackend, folder: Path) -> None:
    from sqlalchemy import create_engine

    metadata, engine = tables(), create_engine(f"sqlite:///{folder}/other.db")
    metadata.create_all(engine)
    know_places(metadata, engine)
    list(sweep(metadata, engine, delete=True))
    engine.dispose()


@HERE
def test_what_is_pruned_by_mistake_is_made_again(gallery: Place) -> None:
    with gallery.engine.begin() as connection:
        file = FileObject(filename="a.png", content=PHOTO, backend="docs").save()
        connection.execute(insert(gallery.metadata.tables["user"]).values(photo=file))
    first = file.variant(OLD).get_content()
    assert run(gallery, "user.photo", prune=True, older_than=NOW).changed == 1
    assert file.variant(OLD).get_content() == first
