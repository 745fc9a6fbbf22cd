"""No request beyond the necessary, counted on the wire between the library and a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from filerow import FileObject
from tests.cases.databases import SQLite
from tests.cases.models import Document
from tests.servers.counting import CountingProxy


@pytest.fixture
def session(sqlite: SQLite, counted_s3: CountingProxy) -> Iterator[Session]:
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


def test_an_insert_is_one_request(session: Session, counted_s3: CountingProxy) -> None:
    with counted_s3.record() as seen:
        add(session)
    assert methods(seen) == ["PUT"]


def test_a_read_is_one_request(session: Session, counted_s3: CountingProxy) -> None:
    (document,) = add(session)
    with counted_s3.record() as seen:
        assert document.file is not None
        assert len(document.file.get_content()) == 10_000
    assert methods(seen) == ["GET"]


def test_a_replacement_is_two_requests(session: Session, counted_s3: CountingProxy) -> None:
    (document,) = add(session)
    with counted_s3.record() as seen:
        document.file = file(b"new")
        session.commit()
    assert methods(seen) == ["PUT", "POST"] or methods(seen) == ["PUT", "DELETE"]


def test_five_deleted_rows_are_one_request(session: Session, counted_s3: CountingProxy) -> None:
    rows = add(session, 5)
    with counted_s3.record() as seen:
        for row in rows:
            session.delete(row)
        session.commit()
    assert methods(seen) == ["POST"]


def test_five_replaced_rows_are_six_requests(session: Session, counted_s3: CountingProxy) -> None:
    rows = add(session, 5)
    with counted_s3.record() as seen:
        for row in rows:
            row.file = file(b"new")
        session.commit()
    assert sorted(methods(seen)) == ["POST"] + ["PUT"] * 5


def test_a_rollback_of_five_rows_is_one_request_more(session: Session, counted_s3: CountingProxy) -> None:
    with counted_s3.record() as seen:
        session.add_all([Document(file=file()) for _ in range(5)])
        session.flush()
        session.rollback()
    assert sorted(methods(seen)) == ["POST"] + ["PUT"] * 5


def test_loads_moves_and_metadata_changes_send_no_requests(session: Session, counted_s3: CountingProxy) -> None:
    first, second = add(session, 2)
    with counted_s3.record() as seen:
        assert first.file is not None
        assert second.file is not None
        first.file, second.file = second.file.replace(metadata={"a": 1}), first.file
        session.commit()
        assert repr(first.file)
    assert methods(seen) == []
