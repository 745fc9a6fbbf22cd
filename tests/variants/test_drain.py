"""A drain deletes originals, then their variants of all recipes, and settles a tombstone after both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Engine, Integer, MetaData, Table, create_engine, insert, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StorageBackend, StoredObject, storages
from filerow.backends.base import ObjectInfo
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.outbox import Outbox
from filerow.variants import Thumbnail
from tests.backends.stores import s3_options
from tests.places import RECORD, know_places
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import NO_LISTING, LimitedS3
from tests.variants.pictures import four_colours, saved

PICTURE = saved(four_colours())


class Base(DeclarativeBase):
    pass


class Photo(Base):
    __tablename__ = "photo"

    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", variants={"thumb": Thumbnail(8, 8)}))
    plain: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


OUTBOX = Outbox(Base.metadata, retention=timedelta(0), backoff=timedelta(microseconds=1))


class Watched(MemoryBackend):
    """Remembers what is listed and deleted, and fails where it should.

    Attributes:
        listed: The folders.
        deleted: The paths of each call.
        refused: What it does not delete, by how its path begins.
        dying: What ends the process when it is to be deleted.
    """

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.listed: list[str] = []
        self.deleted: list[list[str]] = []
        self.refused = self.dying = "-"

    def _list(self, prefix: str, start_after: str) -> Iterator[ObjectInfo]:
        self.listed.append(prefix)
        return super()._list(prefix, start_after)

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        self.deleted.append(list(paths))
        if any(path.startswith(self.dying) for path in paths):
            raise KeyboardInterrupt
        if any(path.startswith(self.refused) for path in paths):
            return dict.fromkeys(paths, PermissionError("not you"))
        return super()._delete(paths)


@pytest.fixture
def docs() -> Iterator[Watched]:
    made = Watched("docs")
    storages.register_backend(made)
    yield made
    storages.clear_backends()


@pytest.fixture
def engine(tmp_path: Path, docs: Watched) -> Iterator[Engine]:
    made = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    Base.metadata.create_all(made)
    yield made
    made.dispose()


def add(engine: Engine, column: str = "file", count: int = 1) -> None:
    """Add rows, and look at two variants of each file, one of them undeclared."""
    with Session(engine) as session:
        rows = [Photo(**{column: FileObject(filename="cat.png", content=PICTURE)}) for _ in range(count)]
        session.add_all(rows)
        session.commit()
        for row in rows if column == "file" else ():
            assert row.file is not None
            row.file.variant("thumb").get_content()
            row.file.variant(Thumbnail(4, 4)).get_content()


def remove(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM photo"))


def left(docs: Watched) -> list[str]:
    return [info.path for info in MemoryBackend._list(docs, "", "") if not info.path.endswith("filerow.json")]


def tombstones(engine: Engine) -> list[tuple[int, str | None]]:
    columns = OUTBOX.table.c
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(select(columns.attempts, columns.last_error))]


def test_a_drain_takes_variants_of_all_recipes(docs: Watched, engine: Engine) -> None:
    add(engine, count=3)
    assert len(left(docs)) == 9
    remove(engine)
    docs.deleted.clear()
    drained = OUTBOX.drain(engine)
    assert drained.deleted == 3
    assert left(docs) == []
    assert [len(paths) for paths in docs.deleted] == [3, 6]
    assert tombstones(engine) == []


def test_columns_without_variants_are_not_listed(docs: Watched, engine: Engine) -> None:
    add(engine, "plain")
    remove(engine)
    docs.listed.clear()
    docs.deleted.clear()
    OUTBOX.drain(engine)
    assert left(docs) == []
    assert not [folder for folder in docs.listed if folder.startswith("_filerow/variants")]
    assert len(docs.deleted) == 1


def test_a_file_that_was_moved_may_have_variants(docs: Watched, engine: Engine) -> None:
    add(engine)
    with Session(engine) as session:
        row = session.scalars(select(Photo)).one()
        assert row.file is not None
        copy = row.file.copy()
        copy.variant(Thumbnail(8, 8)).get_content()
        row.plain, row.file = row.file, None
        session.add(Photo(plain=copy))
        session.commit()
    remove(engine)
    assert OUTBOX.drain(engine).deleted == 2
    assert left(docs) == []


def test_an_unknown_column_may_have_variants(docs: Watched, engine: Engine) -> None:
    add(engine)
    remove(engine)
    with engine.begin() as connection:
        connection.execute(OUTBOX.table.update().values(column_name="portrait"))
    OUTBOX.drain(engine)
    assert left(docs) == []


def test_a_tombstone_waits_for_its_variants(docs: Watched, engine: Engine) -> None:
    add(engine)
    remove(engine)
    docs.refused = "_filerow/variants"
    assert OUTBOX.drain(engine).failed == 1
    assert len(left(docs)) == 2
    ((attempts, error),) = tombstones(engine)
    assert attempts == 1
    assert "its variants could not be deleted" in (error or "")
    docs.refused = "-"
    assert OUTBOX.drain(engine).deleted == 1
    assert left(docs) == []
    assert tombstones(engine) == []


def test_a_drain_that_dies_between_both_is_repeated(docs: Watched, engine: Engine) -> None:
    add(engine)
    remove(engine)
    docs.dying = "_filerow/variants"
    with pytest.raises(KeyboardInterrupt):
        OUTBOX.drain(engine)
    assert len(left(docs)) == 2
    assert len(tombstones(engine)) == 1
    docs.dying = "-"
    assert OUTBOX.drain(engine).deleted == 1
    assert left(docs) == []


# -- without the right to list ---------------------------------------------------------------------------------------------


@pytest.fixture
def unlisted(s3_server: S3Server) -> Iterator[tuple[StorageBackend, StorageBackend]]:
    """A bucket as credentials see it that may not list, and as others do."""
    limited = LimitedS3(s3_server, NO_LISTING)
    url = f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix().strip('/')}"
    backend = ObstoreBackend("docs", url, **s3_options(limited.server))
    storages.register_backend(backend)
    yield backend, ObstoreBackend("all", url, **s3_options(s3_server))
    storages.clear_backends()
    limited.stop()


def removed_with_variant(folder: Path, file: FileObject) -> Engine:
    """Return the database of a photo whose variant was made, and whose row is gone."""
    engine = create_engine(f"sqlite:///{folder / 'rows.db'}")
    Base.metadata.create_all(engine)
    know_places(Base.metadata, engine, ["docs"])
    with Session(engine) as session:
        session.add(row := Photo(file=file))
        session.commit()
        assert row.file is not None
        row.file.variant("thumb").get_content()
    remove(engine)
    return engine


@pytest.mark.parametrize("column", ["file", "gone"])
def test_a_drain_that_may_not_list_deletes_by_names(
    unlisted: tuple[StorageBackend, StorageBackend], tmp_path: Path, column: str
) -> None:
    """A drain needs no right to list, so what a column declares must not keep tombstones for ever."""
    engine = removed_with_variant(tmp_path, FileObject(filename="cat.png", content=PICTURE))
    with engine.begin() as connection:
        connection.execute(OUTBOX.table.update().values(column_name=column))  # as after a rename
    drained = OUTBOX.drain(engine)
    assert (drained.deleted, drained.failed, tombstones(engine)) == (1, 0, [])
    assert [info.path for info in unlisted[1].list() if info.path != RECORD] == []
    engine.dispose()


def test_models_without_variants_need_no_right_to_list(unlisted: tuple[StorageBackend, StorageBackend], tmp_path: Path) -> None:
    """Not even for what a renamed or dropped column has left."""
    metadata = MetaData()
    Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", StoredObject("docs")))
    outbox = Outbox(metadata, retention=timedelta(0))
    engine = create_engine(f"sqlite:///{tmp_path / 'rows.db'}")
    metadata.create_all(engine)
    know_places(metadata, engine, ["docs"])
    files = [FileObject("docs", "a.txt", content=b"x").save(), FileObject("docs", to_filename="own.txt", content=b"x").save()]
    with engine.begin() as connection:
        notes = [
            {"backend": "docs", "path": file.path, "table_name": "paper", "column_name": "scan", "dropped_at": 1}
            for file in files
        ]
        connection.execute(insert(outbox.table), notes)
    drained = outbox.drain(engine)
    assert (drained.deleted, drained.failed) == (2, 0)
    assert [info.path for info in unlisted[1].list() if info.path != RECORD] == []
    engine.dispose()


def test_a_tombstone_waits_where_names_are_unknown(unlisted: tuple[StorageBackend, StorageBackend], tmp_path: Path) -> None:
    """The names of variants of a chosen path depend on the content, which a tombstone need not know."""
    engine = removed_with_variant(tmp_path, FileObject(to_filename="cat.png", content=PICTURE))
    assert OUTBOX.drain(engine).failed == 1
    ((_, error),) = tombstones(engine)
    assert "its variants could not be deleted" in (error or "")
    engine.dispose()
