"""Rows with files from factories, and an S3 inside the test: polyfactory, factory_boy, Faker and moto as they are."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import factory.alchemy
import httpx
import pytest
from faker import Faker
from faker.providers import BaseProvider
from PIL import Image
from polyfactory.factories.sqlalchemy_factory import SQLAlchemyFactory
from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.testing import sample_file

boy: Any = factory  # it has types of its own for what it exports
TYPES = ["text/plain", "image/png", "application/pdf", "application/octet-stream"]


class Base(DeclarativeBase):
    pass


class Paper(Base):
    __tablename__ = "paper"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    scan: Mapped[FileObject] = mapped_column(StoredObject("docs", content_types=["image/png", "application/pdf"]))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


@pytest.fixture
def engine() -> Iterator[Engine]:
    storages.register_backend(MemoryBackend("docs"))
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()
    storages.clear_backends()


@pytest.mark.parametrize("content_type", TYPES)
def test_sample_proves_to_be_of_its_type(engine: Engine, content_type: str) -> None:
    file, other = sample_file(content_type, backend="docs"), sample_file(content_type, filename="a", backend="docs")
    assert file.get_content() != other.get_content()
    assert file.save().content_type == content_type
    assert (other.filename, file.filename.partition(".")[0]) == ("a", "sample")
    if content_type == "image/png":
        assert Image.open(io.BytesIO(file.get_content())).size == (2, 1)
        Image.open(io.BytesIO(file.get_content())).load()


@pytest.mark.parametrize("content_type", TYPES)
def test_sample_of_a_seed_is_always_the_same(content_type: str) -> None:
    one, same, other = (sample_file(content_type, seed=seed).get_content() for seed in (b"7", b"7", b"8"))
    assert one == same != other


def test_type_without_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="not of 'video/mp4'"):
        sample_file("video/mp4")


class PolyPaper(SQLAlchemyFactory[Paper]):
    __set_primary_key__ = False

    scan = lambda: sample_file("image/png")  # noqa: E731 - polyfactory calls it for each row
    pages = lambda: [sample_file(), sample_file()]  # noqa: E731


class FileProvider(BaseProvider):
    def stored_file(self, content_type: str) -> FileObject:
        return sample_file(content_type, filename=self.generator.file_name(), seed=self.generator.random.randbytes(8))


boy.Faker.add_provider(FileProvider)


class BoyPaper(boy.alchemy.SQLAlchemyModelFactory):  # type: ignore[misc]
    class Meta:
        model = Paper

    title = boy.Faker("sentence")
    scan = boy.Faker("stored_file", content_type="application/pdf")
    pages = boy.LazyFunction(lambda: [sample_file()])


def test_polyfactory_makes_rows_with_files(engine: Engine) -> None:
    with Session(engine) as session:
        session.add_all(PolyPaper.batch(2))
        session.commit()
        papers = session.query(Paper).all()
        assert [(paper.scan.content_type, len(paper.pages)) for paper in papers] == [("image/png", 2)] * 2
        assert len({file.path for paper in papers for file in (paper.scan, *paper.pages)}) == 6


def test_faker_makes_the_same_files_for_a_seed() -> None:
    fake = Faker()
    fake.add_provider(FileProvider)
    made = []
    for seed in (7, 7, 8):
        fake.seed_instance(seed)
        file = fake.stored_file("image/png")
        made.append((file.filename, file.get_content()))
    assert made[0] == made[1] != made[2]


def test_factory_boy_makes_rows_with_files(engine: Engine) -> None:
    with Session(engine) as session:
        BoyPaper._meta.sqlalchemy_session = session
        BoyPaper.create_batch(2)
        session.commit()
        papers = session.query(Paper).all()
        assert [(paper.scan.content_type, len(paper.pages)) for paper in papers] == [("application/pdf", 1)] * 2
        BoyPaper._meta.sqlalchemy_session = None


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_bucket_of_moto_in_this_process_holds_files() -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        options: dict[str, Any] = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region": "us-east-1"}
        assert httpx.put(f"{endpoint}/docs").status_code == 200
        storages.register_backend("s3://docs", key="docs", aws_endpoint=endpoint, **options)
        file = sample_file(backend="docs")
        content = file.get_content()
        assert file.save().get_content() == content
        assert file.path in httpx.get(f"{endpoint}/docs").text
    finally:
        storages.clear_backends()
        server.stop()
