"""Draining: what is due goes, what a row names stays, what fails is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest

from filerow.outbox import Drained
from tests.databases import EmptyDatabase
from tests.outbox.yard import Yard, make_yard, paths


@pytest.fixture
def yard(database: EmptyDatabase, tmp_path: Path) -> Yard:
    return make_yard(database.engine(), tmp_path / "docs")


def test_the_objects_of_due_tombstones_go_and_so_do_their_tombstones(yard: Yard) -> None:
    yard.put(*paths(25), "paper/file/other.txt")
    yard.bury(*paths(25))
    assert yard.outbox.drain(yard.engine, batch=10) == Drained(deleted=25)
    assert yard.there() == {"paper/file/other.txt"}
    assert yard.tombstones() == []
    assert yard.outbox.drain(yard.engine) == Drained()
