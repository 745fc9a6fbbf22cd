"""Log records have fields to search by, with names that do not change."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from filerow.http import route
from filerow.testing.faults import Fault, FaultyBackend
from tests.observability.models import Document, Kept, a_file, outbox


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name.startswith("filerow_")}


def test_a_failed_delete_has_fields(engine: Engine, docs: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    with Session(engine) as session:
        session.add(document := Document(file=a_file("a.txt"), pages=[a_file("1")]))
        session.commit()
        docs.add(Fault("delete", error=ConnectionResetError))
        session.delete(document)
        session.commit()
    [record] = caplog.records
    found = fields_of(record)
    assert (found["filerow_operation"], found["filerow_backend"], found["filerow_objects"]) == ("delete", "docs", 2)
    assert "ConnectionResetError" in found["filerow_error"]
    assert "document/" not in found["filerow_error"]


def test_a_failed_drain_has_fields(engine: Engine, docs: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    with Session(engine) as session:
        session.add(row := Kept(file=a_file("a.txt")))
        session.commit()
        session.delete(row)
        session.commit()
    docs.add(Fault("delete", error=ConnectionResetError))
    outbox.drain(engine)
    outbox.drain(engine)
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]  # it is tried again, then given up
    found = fields_of(caplog.records[0])
    assert (found["filerow_operation"], found["filerow_backend"], found["filerow_objects"]) == ("drain", "docs", 1)


def test_a_failing_store_of_a_response_has_fields(docs: FaultyBackend, caplog: pytest.LogCaptureFixture) -> None:
    docs.add(Fault("head", error=ConnectionResetError))
    with pytest.raises(Exception, match="ConnectionResetError") as raised:
        docs.head("a")
    assert route.problem(raised.value).status >= 500
    assert fields_of(caplog.records[0]) == {
        "filerow_operation": "serve",
        "filerow_backend": "docs",
        "filerow_error": "StorageError",
        "filerow_status": 503,
    }
