"""What DuckDB cannot do, and says; when one of these fails, it can."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from tests.dialects.models import Noted, Plain


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = create_engine(f"duckdb:///{tmp_path}/rows.db")
    yield engine
    engine.dispose()


def test_it_has_no_savepoints(engine: Engine) -> None:
    Plain.metadata.create_all(engine)
    with Session(engine) as session, pytest.raises(SQLAlchemyError, match="SAVEPOINT"):
        session.begin_nested()


def test_it_can_make_no_outbox(engine: Engine) -> None:
    with pytest.raises(SQLAlchemyError, match="BIGSERIAL"):
        Noted.metadata.create_all(engine)
