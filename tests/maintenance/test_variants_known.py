"""Whatever counts, lists, checks or moves files knows their variants: doctor, stats, ls, check, migrate, undelete."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Integer, MetaData, Table, insert, select

from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.maintenance import VariantStats, check, check_async, doctor, doctor_async, ls, ls_async, migrate, stats, stats_async
from filerow.outbox import Outbox, outbox_of
from filerow.variants import Resize, Thumbnail, configure, configure_urls
from tests.databases import EmptyDatabase
from tests.maintenance.place import Place, findings
from tests.maintenance.test_variants import HERE, OLD, PHOTO, SMALL, THUMB, documents, photo, tables
from tests.servers._s3 import S3Server

pytestmark = pytest.mark.usefixtures("variant_workers")

SECRET = "5bd8b3f6-6b0f-4a5c-9d86-0a6a1f6b7c21-4e7d"


@pytest.fixture
def gallery(database: EmptyDatabase, store: Any) -> Place:
    return Place(database, store, tables())


# -- check -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "store", "form"),
    [("sqlite", "local", "blocking"), ("postgresql", "s3", "async")],
    indirect=["database", "store"],
)
def test_check_finds_listed_variants_that_are_not_stored(gallery: Place, form: str) -> None:
    ids = [photo(gallery).variant(recipe).id for recipe in (THUMB, SMALL, OLD)]
    whole, lacking = photo(gallery, variants=ids), photo(gallery, variants=ids)
    for recipe in (THUMB, SMALL):
        whole.variant(recipe).get_content()
    lacking.variant(SMALL).get_content()
    if form == "async":
        found = findings(gallery.in_a_loop(check_async, variants=True, columns=["user.photo"]))
    else:
        found = findings(check(gallery.metadata, gallery.engine, variants=True, columns=["user.photo"]))
    assert [(one.code, one.level, one.path) for one in found] == [("variant-missing", "warning", lacking.path)]
    assert "1 variant that" in found[0].message
    assert found[0].advice
    assert not findings(check(gallery.metadata, gallery.engine))  # by default nobody asks
    repaired = list(check(gallery.metadata, gallery.engine, variants=True, repair="null"))
    assert sum(one.changed for one in repaired) == 0
    lacking.variant(THUMB).get_content()
    assert not findings(check(gallery.metadata, gallery.engine, variants=True))


# -- figures ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "store", "form"),
    [("sqlite", "local", "async"), ("postgresql", "s3", "blocking")],
    indirect=["database", "store"],
)
def test_stats_counts_variants_by_column_and_backend(gallery: Place, form: str) -> None:
    one, other, listed = photo(gallery), photo(gallery), photo(gallery, column="album")
    sizes = {"photo": 0, "album": 0}
    for file, recipe, column in [(one, THUMB, "photo"), (one, SMALL, "photo"), (other, OLD, "photo"), (listed, THUMB, "album")]:
        sizes[column] += len(file.variant(recipe).get_content())
    gallery.put(f"_filerow/variants/{one.path}/{'0' * 32}.failed")
    gallery.put(f"_filerow/variants/legacy/cat.png/{'0' * 32}.webp", content=b"1234")
    gallery.put("_filerow/variants/readme.txt")
    gallery.row("user.plain", {"v": 1, "backend": "gone", "path": "a", "filename": "a"})
    if form == "async":
        found: list[Any] = gallery.in_a_loop(stats_async, variants=True)
    else:
        found = list(stats(gallery.metadata, gallery.engine, variants=True))
    assert [item for item in found if isinstance(item, VariantStats)] == [
        VariantStats("", "docs", 1, 4),
        VariantStats("user.album", "docs", 1, sizes["album"]),
        VariantStats("user.photo", "docs", 3, sizes["photo"], failed=1),
    ]
    assert not [item for item in stats(gallery.metadata, gallery.engine) if isinstance(item, VariantStats)]


@pytest.mark.parametrize(
    ("database", "store", "form"),
    [("sqlite", "local", "async"), ("postgresql", "s3", "blocking")],
    indirect=["database", "store"],
)
def test_ls_lists_each_file_s_variants_after_it(gallery: Place, form: str) -> None:
    files = [photo(gallery) for _ in range(3)]
    files[0].variant(SMALL).get_content()
    files[0].variant(OLD).get_content()
    files[2].variant(THUMB).get_content()
    gallery.put(f"_filerow/variants/{files[1].path}/{'0' * 32}.failed")

    def listed(**options: Any) -> list[Any]:
        if form == "async":
            return list(gallery.in_a_loop(ls_async, column="user.photo", **options))
        return list(ls(gallery.metadata, gallery.engine, "user.photo", **options))

    found = listed(variants=True)
    assert [(one.row["id"], one.variant) for one in found if one.variant] == [
        *sorted(
            [(1, "small"), (1, files[0].variant(OLD).id)],
            key=lambda pair: files[0].variant(SMALL if pair[1] == "small" else OLD).id,
        ),
        (3, "thumb"),
    ]
    (small,) = [one for one in found if one.variant == "small"]
    assert (small.path, small.content_type, small.filename) == (files[0].variant(SMALL).path, "image/png", "a.png")
    assert small.size == len(storages.get_backend("docs").read(small.path))
    assert [one.path for one in found if not one.variant] == [one.path for one in files] == [one.path for one in listed()]
    assert [bool(one.variant) for one in listed(variants=True, limit=1)] == [False, True, True]
    assert listed(variants=True, limit=0) == []
    with pytest.raises(ValueError, match="--removed"):
        ls(gallery.metadata, gallery.engine, "user.photo", variants=True, removed=True)


# -- moved, restored ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("database", "store"), [("sqlite", "local"), ("postgresql", "s3")], indirect=["database", "store"])
def test_moved_files_take_listed_variants_along(gallery: Place) -> None:
    ids = [photo(gallery).variant(THUMB).id, photo(gallery).variant(SMALL).id]
    for _ in range(2):
        one = photo(gallery, variants=[*ids, "0" * 32], width=80, height=40)
        for recipe in (THUMB, SMALL, OLD):
            one.variant(recipe).get_content()
    list(migrate(gallery.metadata, gallery.engine, "user.photo", to="other"))
    there = {path for key, path in gallery.store.everything() if key == "other" and path.startswith("_filerow/")}
    moved = [FileObject.from_dict(document) for document in documents(gallery)]
    assert {one.backend_key for one in moved} == {"other"}
    assert there == {one.variant(recipe).path for one in moved[2:] for recipe in (THUMB, SMALL)}  # and no others
    assert [one.to_dict().get("variants") for one in moved] == [None, None, ids, ids]
    assert [one.width for one in moved] == [None, None, 80, 80]


def test_a_copy_of_a_killed_migration_lists_no_variant(tmp_path: Path, database: EmptyDatabase) -> None:
    """A column with paths of its own finds what a killed run has left at the same path."""
    storages.clear_backends()
    for key in ("docs", "other"):
        (tmp_path / key).mkdir()
        storages.register_backend(LocalBackend(key, tmp_path / key, fsync=False))
    metadata = MetaData()
    kind = StoredObject("docs", path=lambda request: f"own/{request.filename}", variants={"thumb": THUMB})
    table = Table("user", metadata, Column("id", Integer, primary_key=True), Column("photo", kind))
    engine = database.engine()
    metadata.create_all(engine)
    file = FileObject(filename="a.png", content=PHOTO, backend="docs").save()
    document = {**file.to_dict(), "path": "own/a.png", "variants": [file.variant(THUMB).id]}
    storages.get_backend("docs").put("own/a.png", PHOTO)
    storages.get_backend("other").put("own/a.png", PHOTO)
    plain = Table("user", MetaData(), Column("id", Integer, primary_key=True), Column("photo", JSON))
    with engine.begin() as connection:
        connection.execute(insert(plain).values(photo=document))
    steps = list(migrate(metadata, engine, "user.photo", to="other"))
    assert steps[-1].changed == 1
    with engine.connect() as connection:
        moved = connection.scalar(select(table.c.photo))
    assert moved is not None
    assert moved.backend_key == "other"
    assert "variants" not in moved.to_dict()
    storages.clear_backends()


@pytest.mark.parametrize("server", ["s3"])
def test_files_copied_inside_a_bucket_list_what_was_copied(server: str, database: EmptyDatabase, s3_server: S3Server) -> None:
    storages.clear_backends()
    prefix = s3_server.make_prefix()
    keys: dict[str, Any] = {"aws_access_key_id": s3_server.access_key, "aws_secret_access_key": s3_server.secret_key}
    for key in ("docs", "other"):
        url = f"{server}://{s3_server.shared_bucket}/{prefix}{key}/"
        storages.register_backend(ObstoreBackend(key, url, aws_endpoint=s3_server.endpoint, **keys))
    metadata, engine = tables(), database.engine()
    metadata.create_all(engine)
    file = FileObject(filename="a.png", content=PHOTO, backend="docs").save()
    file.variant(SMALL).get_content()
    document = {**file.to_dict(), "variants": [file.variant(THUMB).id, file.variant(SMALL).id]}
    place = Place.__new__(Place)
    place.metadata, place.engine = metadata, engine
    place.row("user.photo", document)
    list(migrate(metadata, engine, "user.photo", to="other"))
    (moved,) = documents(place)
    assert moved["backend"] == "other"
    assert moved["variants"] == [file.variant(SMALL).id]  # the other one was not there
    assert storages.get_backend("other").exists(FileObject.from_dict(moved).variant(SMALL).path)
    storages.clear_backends()


@HERE
def test_a_restored_file_has_its_variants(gallery: Place) -> None:
    ids = [photo(gallery).variant(THUMB).id]
    file = photo(gallery, variants=ids)
    content = file.variant(THUMB).get_content()
    user, outbox = gallery.metadata.tables["user"], outbox_of(gallery.metadata)
    assert isinstance(outbox, Outbox)
    with gallery.engine.begin() as connection:
        connection.execute(user.delete().where(user.c.id == 2))
        connection.execute(insert(user).values(id=2))
    with gallery.engine.begin() as connection:
        outbox.undelete(connection, "docs", file.path)
    (_, restored) = documents(gallery)
    assert restored["variants"] == ids
    assert storages.get_backend("docs").read(file.variant(THUMB).path) == content


# -- doctor ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("FILEROW_SECRET", raising=False)
    configure_urls()  # forgets what others have set
    yield
    configure_urls()


def codes(metadata: MetaData, engine: Any) -> dict[str, Any]:
    return {one.code: one for progress in doctor(metadata, engine) if progress.step == "variants" for one in progress.findings}


@pytest.mark.usefixtures("urls")
@HERE
def test_doctor_says_what_variants_need(gallery: Place) -> None:
    found = codes(gallery.metadata, gallery.engine)
    assert found.keys() - {"variants-unconfined"} == {"secret-missing", "variants-route"}
    assert (found["secret-missing"].level, found["secret-missing"].backend) == ("error", "docs")
    configure_urls(secret=SECRET)
    assert codes(gallery.metadata, gallery.engine).keys() - {"variants-unconfined"} == {"variants-route"}
    steps = gallery.in_a_loop(doctor_async)
    assert {one.step for one in steps} >= {"variants"}
    with configure(executable="/does/not/exist"):
        assert codes(gallery.metadata, gallery.engine)["variants-no-worker"].level == "error"
    with configure(inline=True):
        assert codes(gallery.metadata, gallery.engine)["variants-inline"].level == "warning"
    configure(workers=2, queue_seconds=60)


@pytest.mark.usefixtures("urls")
def test_doctor_knows_backends_whose_variants_have_no_url(database: EmptyDatabase) -> None:
    configure_urls(secret=SECRET)
    storages.clear_backends()
    storages.register_backend(MemoryBackend("a/b"))
    metadata = MetaData()
    kind = StoredObject("a/b", variants={"thumb": Thumbnail(1, 1), "w": Resize(width=1)})
    Table("user", metadata, Column("id", Integer, primary_key=True), Column("photo", kind))
    engine = database.engine()
    metadata.create_all(engine)
    assert codes(metadata, engine)["variants-url"].backend == "a/b"
    storages.clear_backends()


@HERE
def test_doctor_has_no_step_for_columns_without_variants(gallery: Place) -> None:
    metadata = MetaData()
    Table("user", metadata, Column("id", Integer, primary_key=True), Column("photo", StoredObject("docs")))
    assert "variants" not in {progress.step for progress in doctor(metadata, gallery.engine)}
