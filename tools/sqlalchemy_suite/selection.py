"""Which files of SQLAlchemy's suite to run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

ALL: Final = ("test/orm", "test/ext")
"""What maps classes: some 13,000 tests."""

_WRITING: Final = (
    "test/orm/test_session.py",
    "test/orm/test_transaction.py",
    "test/orm/test_unitofwork.py",
    "test/orm/test_unitofworkv2.py",
    "test/orm/test_versioning.py",
    "test/orm/test_events.py",
    "test/orm/test_cascade.py",
    "test/orm/test_merge.py",
    "test/orm/test_naturalpks.py",
    "test/orm/test_cycles.py",
    "test/orm/test_manytomany.py",
    "test/orm/test_association.py",
    "test/orm/test_scoping.py",
    "test/orm/test_sync.py",
    "test/orm/test_load_on_fks.py",
)


def writing(suite: Path) -> list[str]:
    """Return the files that flush, roll back and delete most: some 1,600 tests."""
    return [path for path in _WRITING if (suite / path).exists()]
