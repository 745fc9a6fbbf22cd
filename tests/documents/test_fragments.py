"""Python of the pages that says ``no-run``, because it needs what a page does not show: here it is given that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, attributes, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.testing import sample_file
from tests.documents import blocks
from tests.documents.reader import Reader, python_of

CLOUDFRONT, FACTORIES, MOTO, HISTORY, ATTACHMENTS = (
    "docs/cdn.md python CloudFront",
    "docs/testing.md python PolyDocument",
    "docs/testing.md python ThreadedMotoServer",
    "docs/recipes.md python attr.items()",
    "docs/recipes.md python class Attachment",
)
IN_A_TEST = """
from collections.abc import Iterator

import httpx
import pytest
from moto.server import ThreadedMotoServer

from filerow import FileObject, StorageRegistry, storages


{block}


@pytest.mark.filterwarnings("ignore")
def test_it(bucket):
    file = FileObject("docs", filename="a.txt", content=b"hello").save()
    assert file.get_content() == b"hello"
    assert file.path in httpx.get(f"{{bucket}}/docs").text
"""
VERSIONED = """
import sqlalchemy_continuum
from sqlalchemy import ForeignKey, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, configure_mappers, mapped_column, relationship

from filerow import FileObject, StoredObject, storages

sqlalchemy_continuum.make_versioned(user_cls=None)


class Base(DeclarativeBase):
    pass


{block}


configure_mappers()
backend = storages.register_backend("memory://", key="docs")
engine = create_engine("sqlite://")
Base.metadata.create_all(engine)
with Session(engine) as session:
    letter = Letter(attachment=Attachment(file=FileObject(content=b"one")))
    session.add(letter)
    session.commit()
    assert len(list(backend.list())) == 1, "a version copies nothing"
    letter.attachment = Attachment(file=FileObject(content=b"two"))
    session.commit()
    assert len(list(backend.list())) == 2
    first, second = [session.get_one(Attachment, version.attachment_id).file.get_content() for version in letter.versions]
    assert (first, second) == (b"one", b"two")
engine.dispose()
"""


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject] = mapped_column(StoredObject("docs", content_types=["application/pdf"]))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True, content_types=["image/png"]))


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    yield
    storages.clear_backends()


def text_of(key: str) -> str:
    return blocks.find(__file__, key).text


def run(key: str, **names: Any) -> dict[str, Any]:
    """Run a block with these names."""
    namespace: dict[str, Any] = {"__name__": "fragment", **names}
    exec(compile(text_of(key), key, "exec", dont_inherit=True), namespace)
    return namespace


def test_each_block_is_run_by_one_of_these() -> None:
    keys = [CLOUDFRONT, FACTORIES, MOTO, HISTORY, ATTACHMENTS]
    assert [sum(blocks.matches(key, block) for key in keys) for block in blocks.of(__file__)] == [1] * len(keys)


def test_factories_make_files_that_the_columns_take() -> None:
    import factory.alchemy
    from polyfactory.factories.sqlalchemy_factory import SQLAlchemyFactory

    storages.register_backend(MemoryBackend("docs"))
    made = run(FACTORIES, SQLAlchemyFactory=SQLAlchemyFactory, factory=factory, Document=Document, sample_file=sample_file)
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add_all([made["PolyDocument"].build(id=1), made["BoyDocument"].build(id=2)])
        session.commit()
        found = session.query(Document).order_by(Document.id).all()
        assert [(row.file.content_type, len(row.pages)) for row in found] == [("application/pdf", 1), ("application/pdf", 0)]
    engine.dispose()


def test_registry_of_a_test_is_its_own(tmp_path: Path) -> None:
    models, conftest, test = python_of("docs/testing.md")[:3]
    assert conftest.startswith("# conftest.py")
    reader = Reader(tmp_path)
    reader.write("models.py", models)
    reader.write("conftest.py", f"from models import *\n{conftest}")
    reader.write("test_documents.py", f"from models import *\n{test}")
    assert "1 passed" in reader.shell("python -W ignore -m pytest -q -p no:cacheprovider -p no:asyncio")


def test_moto_s_server_is_a_bucket_for_a_test(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.write("test_bucket.py", IN_A_TEST.format(block=text_of(MOTO)))
    assert "1 passed" in reader.shell("python -W ignore -m pytest -q -p no:cacheprovider -p no:asyncio test_bucket.py")


@pytest.mark.parametrize("deleted", [False, True])
def test_history_gets_only_files_that_changed(*, deleted: bool) -> None:
    storages.register_backend(MemoryBackend("docs"))
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        row = Document(id=1, file=sample_file("application/pdf"), pages=[])
        session.add(row)
        session.commit()
        kept, pages = row.file, row.pages
        row.pages = [sample_file("image/png")]
        attr, hist = {"title": "a", "file": kept, "pages": pages}, SimpleNamespace()
        run(
            HISTORY, attr=attr, hist=hist, obj=row, deleted=deleted, attributes=attributes, FileObject=FileObject,
            FileObjectList=FileObjectList,
        )  # fmt: skip
        wanted = {"title", "pages", *(["file"] if deleted else [])}
        assert set(vars(hist)) == wanted
    engine.dispose()


def test_attachments_that_never_change_are_not_copied(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.write("letters.py", VERSIONED.format(block=text_of(ATTACHMENTS)))
    reader.shell("python -W ignore letters.py")


def test_cloudfront_signs_urls_and_cookies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    pem = tmp_path / "cloudfront.pem"
    pem.write_bytes(make_key())
    cookies: list[tuple[str, str]] = []

    def set_cookie(name: str, value: str, *, secure: bool, httponly: bool, domain: str, path: str) -> None:
        assert (secure, httponly, domain, path) == (True, True, ".example.org", "/docs/document/file")
        cookies.append((name, value))

    source = text_of(CLOUDFRONT).replace("/run/secrets/cloudfront.pem", str(pem))
    assert str(pem) in source
    file = FileObject.from_dict({"v": 1, "backend": "docs", "path": "document/file/a.txt", "filename": "a.txt", "size": 1})
    document, response = SimpleNamespace(file=file), SimpleNamespace(set_cookie=set_cookie)
    exec(
        compile(source, CLOUDFRONT, "exec", dont_inherit=True), {"storages": storages, "document": document, "response": response}
    )
    assert {name for name, _ in cookies} == {"CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"}
    assert file.sign().startswith("https://d111111abcdef8.cloudfront.net/docs/document/file/a.txt?")


def make_key() -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
