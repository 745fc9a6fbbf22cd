"""Variants go with their originals, whatever route an original is deleted by."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from sqlalchemy import JSON, Engine, create_engine, delete, event, select, table, type_coerce, update
from sqlalchemy import column as sql_column
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, PathRequest, StorageBackend, StoredObject, storages
from filerow.backends.base import ObjectInfo
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import UndecodableError
from filerow.variants import Thumbnail
from tests.backends.stores import s3_options
from tests.servers._s3 import S3Server
from tests.servers.counting import CountingProxy
from tests.servers.limited_s3 import LIMITED, LimitedS3
from tests.variants.pictures import four_colours, saved

pytestmark = pytest.mark.one_in(2)

PICTURE = saved(four_colours())
THUMB = {"thumb": Thumbnail(8, 8)}


class Base(DeclarativeBase):
    pass


def named(request: PathRequest) -> str:
    return f"chosen/{request.filename.replace('--', '/')}"


class Photo(Base):
    __tablename__ = "photo"

    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", variants=THUMB))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True, variants=THUMB))
    wide: Mapped[FileObject | None] = mapped_column(StoredObject("docs", variants={"wide": Thumbnail(16, 8)}))
    kept: Mapped[FileObject | None] = mapped_column(StoredObject("docs", lifecycle=False, variants=THUMB))
    chosen: Mapped[FileObject | None] = mapped_column(StoredObject("docs", path=named, variants=THUMB))
    moved: Mapped[FileObject | None] = mapped_column(StoredObject("other", variants=THUMB))
    plain: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


class Listing(MemoryBackend):
    """A store where each missing object costs a request, so nobody deletes by names alone."""

    _deletes_unseen = False


class Refusing(MemoryBackend):
    """Deletes nothing whose path has one of these beginnings.

    Attributes:
        refused: They.
    """

    refused: tuple[str, ...] = ()

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        refused = {path: PermissionError("not you") for path in paths if self.refused and path.startswith(self.refused)}
        return {**super()._delete([path for path in paths if path not in refused]), **refused}


@pytest.fixture(params=[MemoryBackend, Listing, "local"])
def docs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    made = LocalBackend("docs", tmp_path / "docs", fsync=False) if request.param == "local" else request.param("docs")
    storages.register_backend(made)
    storages.failed_deletes = 0
    yield made
    storages.clear_backends()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    event.listen(made, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
    event.listen(made, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def picture(name: str = "cat.png", content: bytes = PICTURE) -> FileObject:
    return FileObject(filename=name, content=content)


def seen(file: FileObject | None, name: str = "thumb") -> FileObject:
    """Look at a file's variant, which makes it."""
    assert file is not None
    assert file.variant(name).get_content()
    return file


def looked_at(session: Session, **columns: FileObject | FileObjectList) -> Photo:
    """Return a committed row, whose variants were looked at."""
    row = Photo(**columns)
    session.add(row)
    session.commit()
    for name in columns:
        value = getattr(row, name)
        for file in value if isinstance(value, list) else [value]:
            seen(file, "wide" if name == "wide" else "thumb")
    return row


def left(docs: StorageBackend) -> list[str]:
    return sorted(info.path for info in docs.list())


# -- routes ----------------------------------------------------------------------------------------------------------------


def by_row(session: Session, row: Photo) -> None:
    session.delete(row)


def by_none(session: Session, row: Photo) -> None:
    row.file = row.chosen = None
    row.pages = FileObjectList()


def by_statement(session: Session, row: Photo) -> None:
    session.execute(delete(Photo))


def by_update(session: Session, row: Photo) -> None:
    session.execute(update(Photo).values(file=None, chosen=None, pages=FileObjectList()))


def in_a_savepoint(session: Session, row: Photo) -> None:
    with session.begin_nested():
        session.delete(row)


@pytest.mark.parametrize("route", [by_row, by_none, by_statement, by_update, in_a_savepoint])
def test_variants_go_with_their_originals(docs: StorageBackend, engine: Engine, route: Callable[[Session, Photo], None]) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture(), pages=FileObjectList([picture(), picture()]), chosen=picture())
        assert len(left(docs)) == 8
        route(session, row)
        session.flush()
        assert len(left(docs)) == 8
        session.commit()
    assert left(docs) == []


def test_a_replaced_files_variants_go(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        row.file = picture()
        session.commit()
        assert left(docs) == [row.file.path]
        seen(row.file)
        assert len(left(docs)) == 2


def test_a_rollback_takes_variants_that_were_made_in_it(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = Photo(file=picture(), chosen=picture())
        session.add(row)
        session.flush()
        seen(row.file)
        seen(row.chosen)
        assert len(left(docs)) == 4
        session.rollback()
    assert left(docs) == []


def test_a_rolled_back_savepoint_takes_only_its_own(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        kept, gone = Photo(file=picture()), Photo(file=picture())
        session.add(kept)
        session.flush()
        savepoint = session.begin_nested()
        session.add(gone)
        session.flush()
        seen(kept.file)
        seen(gone.file)
        savepoint.rollback()
        assert kept.file is not None
        assert left(docs) == [variant_of(kept.file), kept.file.path]
        session.commit()
    assert len(left(docs)) == 2


def variant_of(file: FileObject) -> str:
    return file.variant("thumb").path


def test_close_without_commit_takes_them(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = Photo(file=picture())
        session.add(row)
        session.flush()
        seen(row.file)
    assert left(docs) == []


def test_an_outer_rollback_takes_them(docs: StorageBackend, engine: Engine) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            row = Photo(file=picture())
            session.add(row)
            session.commit()
            seen(row.file)
        assert len(left(docs)) == 2
        outer.rollback()
    assert left(docs) == []


def test_an_abandoned_session_takes_them(docs: StorageBackend, engine: Engine) -> None:
    with engine.connect() as connection:
        outer = connection.begin()
        with Session(connection, join_transaction_mode="create_savepoint") as session:
            session.add(row := Photo(file=picture()))
            session.commit()
            seen(row.file)
            session.delete(row)
            session.commit()
        assert len(left(docs)) == 2
        outer.commit()
    assert left(docs) == []


def test_a_failed_flush_takes_them(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        made = looked_at(session, file=picture())
        number = made.id

        @event.listens_for(session, "after_flush")
        def look(_: Session, __: object) -> None:
            seen(row.file)
            raise RuntimeError("after the variant was made")

        row = Photo(id=number + 1, file=picture())
        session.add(row)
        with pytest.raises(RuntimeError):
            session.commit()
        session.rollback()
    assert len(left(docs)) == 2


class Slow(MemoryBackend):
    """Takes its time to delete.

    Attributes:
        begun: Set when it has begun.
    """

    begun: asyncio.Event

    async def _delete_async(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.begun.set()
        await asyncio.sleep(0.05)
        return self._delete(paths)


def test_a_cancelled_commit_takes_them(tmp_path: Path) -> None:
    async def scenario() -> None:
        docs.begun = asyncio.Event()
        engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path / 'rows.db'}")
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        async with AsyncSession(engine, expire_on_commit=False) as session:
            row = Photo(file=picture())
            session.add(row)
            await session.commit()
            assert row.file is not None
            await row.file.variant("thumb").get_content_async()
            await session.delete(row)
            task = asyncio.ensure_future(session.commit())
            await docs.begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await engine.dispose()

    docs = Slow("docs")
    storages.register_backend(docs)
    try:
        asyncio.run(scenario())
        assert left(docs) == []
    finally:
        storages.clear_backends()


def test_notes_of_failed_variants_go(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = Photo(file=picture(content=b"not an image"), chosen=picture(content=b"neither"))
        session.add(row)
        session.commit()
        for file in (row.file, row.chosen):
            assert file is not None
            with pytest.raises(UndecodableError):
                file.variant("thumb").get_content()
        assert len(left(docs)) == 4
        session.delete(row)
        session.commit()
    assert left(docs) == []


def test_a_moved_file_loses_the_variants_of_both_columns(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        row.wide, row.file = row.file, None
        session.flush()
        seen(row.wide, "wide")
        assert len(left(docs)) == 3
        row.wide = None
        session.commit()
    assert left(docs) == []


@pytest.mark.parametrize("column", ["wide", "plain"])
def test_a_file_moved_earlier_loses_the_variants_of_both(docs: StorageBackend, engine: Engine, column: str) -> None:
    """Its path says where it comes from; nothing else does in a later session."""
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        setattr(row, column, row.file)
        row.file = None
        session.commit()
        assert len(left(docs)) == 2
    with Session(engine) as session:
        session.delete(session.scalars(select(Photo)).one())
        session.commit()
    assert left(docs) == []


@pytest.mark.parametrize("column", ["wide", "plain"])
def test_a_copy_in_another_column_loses_what_it_lists(docs: StorageBackend, engine: Engine, column: str) -> None:
    with Session(engine) as session:
        row = with_listed_thumb(session)
        assert row.file is not None
        session.add(Photo(**{column: row.file.copy()}))
        session.commit()
        assert len(left(docs)) == 4
    with Session(engine) as session:
        for one in session.scalars(select(Photo)):
            session.delete(one)
        session.commit()
    assert left(docs) == []


def test_a_column_without_a_lifecycle_keeps_its_variants(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, kept=picture())
        session.delete(row)
        session.commit()
    assert len(left(docs)) == 2


def test_delete_takes_every_variant(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        assert row.file is not None
        row.file.variant(Thumbnail(4, 4)).get_content()
        row.file.delete(force=True)
    assert left(docs) == []


@pytest.mark.parametrize("awaited", [False, True])
def test_delete_of_a_file_without_a_column_takes_them(docs: StorageBackend, *, awaited: bool) -> None:
    file = FileObject(filename="cat.png", content=PICTURE, backend="docs").save()
    file.variant(Thumbnail(4, 4)).get_content()
    asyncio.run(file.delete_async()) if awaited else file.delete()
    assert left(docs) == []


class Unlisted(MemoryBackend):
    """A store whose credentials may not list."""

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        raise PermissionError("you may not list")


def test_delete_without_the_right_to_list_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing says that such a file has variants."""
    storages.register_backend(Unlisted("docs"))
    storages.failed_deletes = 0
    FileObject(filename="cat.png", content=PICTURE, backend="docs").save().delete()
    assert (caplog.messages, storages.failed_deletes) == ([], 0)
    storages.clear_backends()


def test_a_store_that_can_least_loses_declared_variants(s3_server: S3Server, engine: Engine) -> None:
    """It has no bulk deletes, and its credentials may not list."""
    url = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}"
    docs = ObstoreBackend("all", url, **s3_options(s3_server))
    with LimitedS3(s3_server, LIMITED["least"]) as limited, Session(engine) as session:
        storages.register_backend(ObstoreBackend("docs", url, **s3_options(limited.server)))
        for remove in (by_row, by_none):
            row = looked_at(session, file=picture(), pages=FileObjectList([picture(), picture()]))
            assert len(left(docs)) == 6
            remove(session, row)
            session.commit()
            assert left(docs) == []
        row = looked_at(session, file=picture())
        assert row.file is not None
        row.file.delete(force=True)
        assert left(docs) == []
    storages.clear_backends()


def test_async_delete_takes_every_variant(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        assert row.file is not None
        row.file.variant(Thumbnail(4, 4)).get_content()
        asyncio.run(row.file.delete_async(force=True))
    assert left(docs) == []


@pytest.mark.parametrize("docs", [MemoryBackend, Listing], indirect=True)
def test_variants_of_a_path_below_stay(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, chosen=picture("a"), file=picture())
        other = looked_at(session, chosen=picture("a--b"))
        row.chosen = None
        session.commit()
        assert other.chosen is not None
        assert row.file is not None
        assert set(left(docs)) == {"chosen/a/b", variant_of(other.chosen), row.file.path, variant_of(row.file)}


# -- failures --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def refusing() -> Iterator[Refusing]:
    made = Refusing("docs")
    storages.register_backend(made)
    storages.failed_deletes = 0
    yield made
    storages.clear_backends()


def test_the_variants_of_what_stays_stay(refusing: Refusing, engine: Engine) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        refusing.refused = ("photo/",)
        session.delete(row)
        session.commit()
    assert len(left(refusing)) == 2
    assert storages.failed_deletes == 1


def test_a_failed_delete_of_a_variant_is_logged(refusing: Refusing, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
    with Session(engine) as session:
        row = looked_at(session, file=picture())
        refusing.refused = ("_filerow/",)
        session.delete(row)
        with caplog.at_level(logging.ERROR, "filerow"):
            session.commit()
    (stayed,) = left(refusing)
    assert stayed.startswith("_filerow/variants/photo/file/")
    assert "variants of deleted objects could not be deleted" in caplog.text
    assert stayed in caplog.text
    assert storages.failed_deletes == 2  # the variant, and a note that is not there


# -- requests --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("column", "requests"), [("plain", 1), ("file", 2)])
def test_variants_cost_one_more_request(counted_s3: CountingProxy, engine: Engine, column: str, requests: int) -> None:
    with Session(engine) as session:
        rows = [Photo(**{column: picture()}) for _ in range(20)]
        session.add_all(rows)
        session.commit()
        if column == "file":
            seen(rows[0].file)
        for row in rows:
            session.delete(row)
        session.flush()
        with counted_s3.record() as requested:
            session.commit()
    assert [request.method for request in requested] == ["POST"] * requests
    assert left(storages.get_backend("docs")) == []


# -- copies ----------------------------------------------------------------------------------------------------------------


def with_listed_thumb(session: Session, column: str = "file") -> Photo:
    """Return a row whose document lists its variant, as if that was made before the commit."""
    row = looked_at(session, **{column: picture()})
    file: FileObject = getattr(row, column)
    known = session.scalar(select(type_coerce(getattr(Photo, column), JSON)))
    documents = {column: {**known, "variants": [file.variant("thumb").id]}}
    session.execute(update(table("photo", *(sql_column(name, JSON) for name in documents))).values(documents))
    session.commit()
    return row


def test_a_copy_gets_the_variants_that_a_file_lists(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = with_listed_thumb(session)
        other = Photo(file=row.file)
        session.add(other)
        session.commit()
        assert row.file is not None
        assert other.file is not None
        assert other.file.to_dict()["variants"] == row.file.to_dict()["variants"] == [row.file.variant("thumb").id]
        assert left(docs) == sorted([variant_of(row.file), variant_of(other.file), row.file.path, other.file.path])
        assert docs.read(variant_of(other.file)) == docs.read(variant_of(row.file))
        session.delete(row)
        session.delete(other)
        session.commit()
    assert left(docs) == []


def test_a_copy_on_another_backend_gets_them_too(docs: StorageBackend, engine: Engine) -> None:
    other = MemoryBackend("other")
    storages.register_backend(other)
    with Session(engine) as session:
        row = with_listed_thumb(session)
        copy = Photo(moved=row.file)
        session.add(copy)
        session.commit()
        assert copy.moved is not None
        assert left(other) == [variant_of(copy.moved), copy.moved.path]
        assert copy.moved.to_dict()["variants"] == [copy.moved.variant("thumb").id]
        info = other.head(variant_of(copy.moved))
        assert info.content_type == "image/webp"


def test_a_variant_that_is_missing_is_left_out_of_the_copy(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = with_listed_thumb(session)
        assert row.file is not None
        docs.delete(variant_of(row.file))
        other = Photo(file=row.file)
        session.add(other)
        session.commit()
        assert other.file is not None
        assert "variants" not in other.file.to_dict()
        seen(other.file)


def test_a_copy_leaves_out_what_its_column_does_not_declare(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = with_listed_thumb(session)
        other = Photo(wide=row.file)
        session.add(other)
        session.commit()
        assert row.file is not None
        assert other.wide is not None
        assert "variants" not in other.wide.to_dict()
        assert left(docs) == sorted([variant_of(row.file), row.file.path, other.wide.path])


def test_a_rolled_back_copy_takes_its_variants(docs: StorageBackend, engine: Engine) -> None:
    with Session(engine) as session:
        row = with_listed_thumb(session)
        session.add(Photo(file=row.file))
        session.flush()
        assert len(left(docs)) == 4
        session.rollback()
        assert len(left(docs)) == 2
