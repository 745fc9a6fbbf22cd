"""No request beyond the necessary, counted on the wire between the library and a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.obstore import ObstoreBackend
from tests.cases.databases import SQLite
from tests.cases.models import Document
from tests.servers._s3 import S3Server
from tests.servers.counting import CountingProxy


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[CountingProxy]:
    with CountingProxy(s3_server.endpoint) as one:
        storages.register_backend(
            ObstoreBackend(
                "docs",
                f"s3://{s3_server.shared_bucket}/{s3_server.make_prefix()}",
                aws_endpoint=one.endpoint,
                aws_access_key_id=s3_server.access_key,
                aws_secret_access_key=s3_server.secret_key,
            )
        )
        yield one
        storages.clear_backends()


@pytest.fixture
def session(sqlite: SQLite, proxy: CountingProxy) -> Iterator[Session]:
    engine: Engine = sqlite.engine()
    with Session(engine) as made:
        yield made
    engine.dispose()


def file(content: bytes = b"x" * 10_000) -> FileObject:
    return FileObject(filename="cat.png", content=content)


def add(session: Session, count: int = 1) -> list[Document]:
    rows = [Document(file=file()) for _ in range(count)]
    session.add_all(rows)
    session.commit()
    return rows


def methods(seen: list[object]) -> list[str]:
    return [str(request).split(" ", 1)[0] for request in seen]


def test_an_insert_is_one_request(session: Session, proxy: CountingProxy) -> None:
    with proxy.record() as seen:
        add(session)
    assert methods(seen) == ["PUT"]


def test_a_read_is_one_request(session: Session, proxy: CountingProxy) -> None:
    (document,) = add(session)
    with proxy.record() as seen:
        assert document.file is not None
        assert len(document.file.get_content()) == 10_000
    assert methods(seen) == ["GET"]


def test_a_replacement_is_two_requests(session: Session, proxy: CountingProxy) -> None:
    (document,) = add(session)
    with proxy.record() as seen:
        document.file = file(b"new")
        session.commit()
    assert methods(seen) == ["PUT", "POST"] or methods(seen) == ["PUT", "DELETE"]


def test_five_deleted_rows_are_one_request(session: Session, proxy: CountingProxy) -> None:
    rows = add(session, 5)
    with proxy.record() as seen:
        for row in rows:
            session.delete(row)
        session.commit()
    assert methods(seen) == ["POST"]


def test_five_replaced_rows_are_six_requests(session: Session, proxy: CountingProxy) -> None:
    rows = add(session, 5)
    with proxy.record() as seen:
        for row in rows:
            row.file = file(b"new")
        session.commit()
    assert sorted(methods(seen)) == ["POST"] + ["PUT"] * 5


def test_a_rollback_of_five_rows_is_one_request_more(session: Session, proxy: CountingProxy) -> None:
    with proxy.record() as seen:
        session.add_all([Document(file=file()) for _ in range(5)])
        session.flush()
        session.rollback()
    assert sorted(methods(seen)) == ["POST"] + ["PUT"] * 5


def test_loads_moves_and_metadata_changes_send_no_requests(session: Session, proxy: CountingProxy) -> None:
    first, second = add(session, 2)
    with proxy.record() as seen:
        assert first.file is not None
        assert second.file is not None
        first.file, second.file = second.file.replace(metadata={"a": 1}), first.file
        session.commit()
        assert repr(first.file)
    assert methods(seen) == []
