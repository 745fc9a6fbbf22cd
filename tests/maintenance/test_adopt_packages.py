"""Columns that the real packages wrote become ours, beside the old ones and on PostgreSQL too; the guides show the rest."""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.maintenance import adopt, adopt_async, check
from filerow.outbox import Outbox
from tests.databases import EmptyDatabase
from tests.maintenance.legacy import WRITERS, names
from tests.maintenance.papers import codes, collect, collect_async, findings
from tests.servers._process import ROOT

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from depot.fields.sqlalchemy import UploadedFileField
    from depot.io.utils import FileIntent
    from depot.manager import DepotManager
    from fastapi_storages import FileSystemStorage
    from fastapi_storages.integrations.sqlalchemy import FileType
    from starlette.datastructures import UploadFile

BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)
SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


@BOTH
@pytest.mark.parametrize("library", WRITERS)
def test_documents_in_another_column_become_files(database: EmptyDatabase, folder: Path, library: str) -> None:
    engine = database.engine()
    WRITERS[library](engine, folder)
    kind = "JSONB" if engine.dialect.name == "postgresql" else "JSON"
    with engine.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE paper ADD COLUMN ours {kind}")
        before = connection.exec_driver_sql("SELECT id, CAST(file AS text) FROM paper ORDER BY id").all()
    metadata = MetaData()
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", JSON))
    paper.append_column(Column("ours", StoredObject("docs")))
    progress = collect_async(
        database, lambda async_engine: adopt_async(metadata, async_engine, "paper.ours", source="paper.file")
    )
    assert [(one.code, one.where) for one in findings(progress)] == [
        ("shared", "paper.ours id=3"), ("missing", "paper.ours id=4"),
    ]  # fmt: skip
    with engine.connect() as connection:
        found = connection.execute(select(paper.c.id, paper.c.ours).order_by(paper.c.id)).all()
        assert [(number, file and file.get_content()) for number, file in found] == [
            (1, b"first"), (2, b"second"), (3, b"first"), (4, None), (5, None),
        ]  # fmt: skip
        assert connection.exec_driver_sql("SELECT id, CAST(file AS text) FROM paper ORDER BY id").all() == before
    again = collect(adopt(metadata, engine, "paper.ours", source="paper.file"))
    assert (again[-1].changed, codes(again)) == (0, ["missing"])


class DepotBase(DeclarativeBase):
    """filedepot's."""


class DepotPaper(DepotBase):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[Any] = mapped_column(UploadedFileField(upload_storage="docs"), nullable=True)


class OurBase(DeclarativeBase):
    """Ours, with an outbox."""


class OurPaper(OurBase):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


outbox = Outbox(OurBase.metadata)


@pytest.fixture
def depot(database: EmptyDatabase, folder: Path) -> Iterator[Engine]:
    """A table that filedepot wrote into, with its files."""
    DepotManager._clear()
    DepotManager.configure("docs", {"depot.storage_path": str(folder)})
    engine = database.engine()
    DepotBase.metadata.create_all(engine)
    with Session(engine) as session:
        for number, content in {1: b"first", 2: b"second"}.items():
            file = FileIntent(io.BytesIO(content), f"{number}.txt", "text/plain")
            session.add(DepotPaper(id=number, file=file))
        session.add(DepotPaper(id=3))
        session.commit()
        (folder / session.get_one(DepotPaper, 2).file.file_id / "file").unlink()
    yield engine
    DepotManager._clear()
    gc.collect()


@SQLITE
def test_documents_of_filedepot_are_adopted_where_they_are(depot: Engine, folder: Path) -> None:
    OurBase.metadata.create_all(depot)
    before = names()
    progress = collect(adopt(OurBase.metadata, depot, "paper.file", suffix="/file"))
    assert [(one.code, one.where) for one in findings(progress)] == [("missing", "paper.file id=2")]
    assert names() == before
    with Session(depot) as session:
        first = session.get_one(OurPaper, 1).file
        assert first is not None
        assert (first.filename, first.content_type, first.get_content()) == ("1.txt", "text/plain", b"first")
        assert (first.path.endswith("/file"), dict(first.metadata)) == (True, {})
        assert session.scalar(select(func.count()).select_from(outbox.table)) == 0, "its old name is not a file that has gone"
        session.get_one(OurPaper, 1).file = None
        session.commit()
        assert session.scalar(select(outbox.table.c.path)) == first.path


@BOTH
def test_text_of_filedepot_becomes_files_beside_it(database: EmptyDatabase, depot: Engine, folder: Path) -> None:
    kind = "JSONB" if depot.dialect.name == "postgresql" else "JSON"
    with depot.begin() as connection:
        connection.exec_driver_sql(f"ALTER TABLE paper ADD COLUMN ours {kind}")
    metadata = MetaData()
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("file", UploadedFileField))
    paper.append_column(Column("ours", StoredObject("docs")))
    storages.register_backend(LocalBackend("other", folder, fsync=False))
    options: dict[str, Any] = {"source": "paper.file", "suffix": "/file", "backend": "other"}
    assert codes(collect(adopt(metadata, depot, "paper.ours", **options))) == ["missing"]
    with Session(depot) as session:
        ours = session.execute(select(paper.c.ours).where(paper.c.id == 1)).scalar_one()
        assert (ours.backend_key, ours.get_content()) == ("other", b"first")
        assert session.get_one(DepotPaper, 1).file.file.read() == b"first"
    assert codes(collect(check(metadata, depot, columns=["paper.ours"], deep=True))) == []


@SQLITE
def test_text_that_is_not_a_document_is_named(database: EmptyDatabase, folder: Path) -> None:
    metadata = MetaData()
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("old", String(300)))
    paper.append_column(Column("file", StoredObject("docs")))
    engine = database.engine()
    metadata.create_all(engine)
    texts = [
        '{"file_id": ',
        '{"nonsense": 1}',
        "[]",
        "[1]",
        '[{"file_id": "a", "path": "docs/a"}, {"file_id": "b", "path": "docs/b"}]',
    ]
    with engine.begin() as connection:
        connection.execute(paper.insert(), [{"id": number, "old": text} for number, text in enumerate(texts, 1)])
    progress = collect(adopt(metadata, engine, "paper.file", source="paper.old"))
    assert [(one.code, one.where) for one in findings(progress)] == [
        ("missing", "paper.file id=1"), ("unreadable", "paper.file id=2"), ("unreadable", "paper.file id=4"),
        ("unreadable", "paper.file id=5"),
    ]  # fmt: skip
    with engine.connect() as connection:
        assert connection.scalar(select(func.count()).where(paper.c.file.is_not(None))) == 0


@SQLITE
def test_another_column_fills_no_list(database: EmptyDatabase, folder: Path) -> None:
    metadata = MetaData()
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("old", String(300)))
    paper.append_column(Column("pages", StoredObject("docs", multiple=True)))
    with pytest.raises(ValueError, match=r"'paper\.pages' holds lists; adopt lists where they are"):
        adopt(metadata, database.engine(), "paper.pages", source="paper.old")


@BOTH
def test_names_of_fastapi_storages_become_files(database: EmptyDatabase, folder: Path) -> None:
    metadata = MetaData()
    storage = FileSystemStorage(path=str(folder))
    paper = Table("paper", metadata, Column("id", Integer, primary_key=True), Column("old", FileType(storage=storage)))
    paper.append_column(Column("file", StoredObject("docs")))
    engine = database.engine()
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number, name in enumerate(["a b.txt", "a b.txt", "c.txt"], 1):
            upload = UploadFile(io.BytesIO(str(number).encode()), filename=name)
            connection.execute(paper.insert().values(id=number, old=upload))
    progress = collect(adopt(metadata, engine, "paper.file", source="paper.old"))
    assert [(one.code, one.where) for one in findings(progress)] == [("shared", "paper.file id=2")]
    with engine.connect() as connection:
        found = connection.execute(select(paper.c.file).order_by(paper.c.id)).scalars().all()
    assert [file.get_content() for file in found] == [b"2", b"2", b"3"], "the second upload had overwritten the first"
    assert found[0].path != found[1].path


DJANGO = """
    import sys
    import django
    from django.conf import settings
    from django.core.files.base import ContentFile
    from django.db import connection, models
    settings.configure(
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}}, STORAGES={"default": %(storage)r}
    )
    django.setup()
    class Paper(models.Model):
        scan = models.FileField(upload_to="scans")
        class Meta:
            app_label = "shop"
    with connection.schema_editor() as editor:
        editor.create_model(Paper)
    for number, content in enumerate([b"one", b"two"], 1):
        Paper(id=number).scan.save("my scan.txt", ContentFile(content))
    print(Paper.objects.get(id=1).scan.read().decode())
"""
"""A project of Django with two rows."""


class ShopBase(DeclarativeBase):
    """Django's table, as we map it."""


class ShopPaper(ShopBase):
    __tablename__ = "shop_paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    scan: Mapped[str]
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


@pytest.mark.thorough
@pytest.mark.usefixtures("folder")
def test_files_of_a_django_model_on_s3_become_ours(tmp_path: Path, s3_server: Any) -> None:
    storages.clear_backends()
    bucket = s3_server.make_bucket()
    options = {
        "bucket_name": bucket, "location": "media", "endpoint_url": s3_server.endpoint,
        "access_key": s3_server.access_key, "secret_key": s3_server.secret_key, "region_name": "us-east-1",
    }  # fmt: skip
    program = textwrap.dedent(DJANGO) % {"storage": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}}
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert ran.stdout == "two\n", ran.stderr  # S3Storage overwrites what has the same name, unless it is configured otherwise
    storages.register_backend(
        f"s3://{bucket}/media", "docs", aws_endpoint=s3_server.endpoint, aws_access_key_id=s3_server.access_key,
        aws_secret_access_key=s3_server.secret_key, aws_region="us-east-1", client_options={"allow_http": True},
    )  # fmt: skip
    engine = create_engine(f"sqlite:///{tmp_path / 'shop.db'}")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE shop_paper ADD COLUMN file JSON")
    progress = collect(adopt(ShopBase.metadata, engine, "shop_paper.file", source="shop_paper.scan"))
    assert [(one.code, one.where) for one in findings(progress)] == [("shared", "shop_paper.file id=2")]
    with Session(engine) as session:
        files = [paper.file for paper in session.scalars(select(ShopPaper).order_by(ShopPaper.id)) if paper.file]
        assert [(file.get_content(), file.content_type) for file in files] == [(b"two", "text/plain")] * 2
        assert files[0].path == "scans/my_scan.txt" != files[1].path
    engine.dispose()


def leaving() -> dict[str, Any]:
    """Return what the script of docs/leaving.md defines."""
    text = (ROOT / "docs" / "leaving.md").read_text()
    namespace: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], namespace)
    return namespace


class LeavingBase(DeclarativeBase):
    """A table with odd keys."""


class Leaving(LeavingBase):
    __tablename__ = "leaving"
    name: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


@BOTH
def test_everything_gets_out_with_its_names(database: EmptyDatabase, folder: Path, tmp_path: Path) -> None:
    engine = database.engine()
    LeavingBase.metadata.create_all(engine)
    long = "ä" * 120 + ".txt"
    with Session(engine) as session:
        session.add(Leaving(name="../..", part=1, file=FileObject(filename="../a.txt", content=b"up")))
        session.add(Leaving(name="b", part=2, pages=[FileObject(filename=long, content=bytes([n])) for n in range(2)]))
        session.add(Leaving(name="gone", part=3, file=FileObject(filename="gone.txt", content=b"gone")))
        session.add(Leaving(name="other", part=4, file=FileObject(filename="other.txt", content=b"right")))
        session.add(Leaving(name="longer", part=5, file=FileObject(filename="longer.txt", content=b"right")))
        session.commit()
        for row in session.scalars(select(Leaving).where(Leaving.part > 2)):
            assert row.file is not None
            path = folder / row.file.path
            path.unlink() if row.name == "gone" else path.write_bytes(b"wrong" if row.name == "other" else b"too long")
    target = tmp_path / "export"
    assert leaving()["export"](LeavingBase.metadata, engine, target) == {"ok": 3, "missing": 1, "broken": 2}
    entries = [json.loads(line) for line in (target / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {entry["row"]["name"]: entry["state"] for entry in entries} == {
        "../..": "ok", "b": "ok", "gone": "missing", "other": "broken", "longer": "broken",
    }  # fmt: skip
    written = {path for path in target.rglob("*") if path.is_file()} - {target / "manifest.csv", target / "manifest.jsonl"}
    assert written == {target / entry["file"] for entry in entries if entry["state"] != "missing"}
    assert {entry["filename"] for entry in entries} == {"a.txt", long, "gone.txt", "other.txt", "longer.txt"}
    assert len((target / "manifest.csv").read_text(encoding="utf-8").splitlines()) == 7
    assert not list(tmp_path.glob("*.txt"))
