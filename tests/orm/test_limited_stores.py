"""Rows whose files are on S3-compatible stores with limits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import UnsupportedOperationError
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3

pytestmark = pytest.mark.servers


class Base(DeclarativeBase):
    pass


class Report(Base):
    __tablename__ = "report"
    id: Mapped[int] = mapped_column(primary_key=True)
    plain: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    unique: Mapped[FileObject | None] = mapped_column(StoredObject("docs", path=lambda asked: f"years/2026/{asked.token}.pdf"))
    chosen: Mapped[FileObject | None] = mapped_column(StoredObject("docs", path=lambda asked: f"years/2026/{asked.filename}"))


@pytest.fixture(params=["ignores-conditions", "answers-501", "answers-400"])
def limited(request: pytest.FixtureRequest, s3_server: S3Server) -> Iterator[LimitedS3]:
    with LimitedS3(s3_server, LIMITED[request.param]) as store:
        server = store.server
        storages.register_backend(
            ObstoreBackend(
                "docs",
                f"s3://{server.shared_bucket}/{server.make_prefix()}",
                aws_endpoint=server.endpoint,
                aws_access_key_id=server.access_key,
                aws_secret_access_key=server.secret_key,
            )
        )
        yield store
        storages.clear_backends()


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


def stored() -> set[str]:
    return {info.path for info in storages.get_backend("docs").list()}


def test_a_path_with_its_token_needs_no_condition(limited: LimitedS3, session: Session) -> None:
    report = Report(unique=FileObject(filename="a.pdf", content=b"%PDF-1.7 one"))
    session.add(report)
    session.commit()
    assert report.unique is not None
    assert stored() == {report.unique.path}
    assert not [asked for asked in limited.asked if asked.conditional]


def test_a_chosen_path_is_refused_before_anything_is_stored(limited: LimitedS3, session: Session) -> None:
    kept = Report(plain=FileObject(filename="kept.pdf", content=b"%PDF-1.7 kept"))
    session.add(kept)
    session.commit()
    for refused in (
        Report(chosen=FileObject(filename="a.pdf", content=b"%PDF-1.7 two")),
        Report(plain=FileObject(filename="a.pdf", content=b"%PDF-1.7 two", to_filename="years/2026/a.pdf")),
    ):
        session.add(refused)
        with pytest.raises(UnsupportedOperationError, match="let Filerow"):
            session.commit()
        session.rollback()
    assert kept.plain is not None
    assert stored() == {kept.plain.path}


def test_a_second_row_gets_its_copy_by_one_request(limited: LimitedS3, session: Session) -> None:
    first = Report(plain=FileObject(filename="a.pdf", content=b"%PDF-1.7 one"))
    session.add(first)
    session.commit()
    second = Report(plain=first.plain)
    session.add(second)
    session.commit()
    assert first.plain is not None
    assert second.plain is not None
    assert stored() == {first.plain.path, second.plain.path}
    assert limited.count("copy") == 1
    assert not [asked for asked in limited.asked if asked.conditional]
