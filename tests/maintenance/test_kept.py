"""Rows that raw SQL has swapped or archived keep their bytes through every drain and sweep, on every database."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.maintenance import check, sweep
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.places import RECORD, know_places

NO_TIME = timedelta(0)


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class Archive(Base):
    __tablename__ = "archive"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


OUTBOX = Outbox(Base.metadata, retention=NO_TIME)


def test_rows_swapped_or_archived_by_raw_sql_keep_their_bytes(database: EmptyDatabase, tmp_path: Path) -> None:
    docs = storages.register_backend(LocalBackend("docs", tmp_path / "files", fsync=False))
    engine = database.engine()
    Base.metadata.create_all(engine)
    know_places(Base.metadata, engine)
    with Session(engine) as session:
        for number in range(1, 5):
            pages = [FileObject(content=b"page %d" % number)]
            session.add(Document(id=number, file=FileObject(content=b"file %d" % number), pages=pages))
        session.commit()
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE former AS SELECT * FROM document"))
    with engine.begin() as connection:  # the first two rows change places, one UPDATE after the other
        for column in ("file", "pages"):
            for here, there in ((1, 2), (2, 1)):
                value = f"(SELECT {column} FROM former WHERE former.id = {there})"
                connection.execute(text(f"UPDATE document SET {column} = {value} WHERE id = {here}"))
        connection.execute(text("DROP TABLE former"))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO archive (id, file, pages) SELECT id, file, pages FROM document WHERE id = 3"))
        connection.execute(text("DELETE FROM document WHERE id IN (3, 4)"))  # the fourth has no other row

    for _ in range(2):
        OUTBOX.drain(engine)
        for _ in sweep(Base.metadata, engine, grace=NO_TIME, delete=True, full=True, allow_many=True):
            pass

    with Session(engine) as session:
        kept = [session.get_one(Document, 1), session.get_one(Document, 2), session.get_one(Archive, 3)]
        contents = [(row.file.get_content(), row.pages[0].get_content()) for row in kept if row.file is not None]
    assert contents == [(b"file 2", b"page 2"), (b"file 1", b"page 1"), (b"file 3", b"page 3")]
    assert len({info.path for info in docs.list()} - {RECORD}) == 6
    assert [finding for progress in check(Base.metadata, engine, deep=True) for finding in progress.findings] == []
    storages.clear_backends()
