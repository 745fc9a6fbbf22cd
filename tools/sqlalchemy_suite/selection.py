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
    "test/orm/test_cascade.py",
    "test/orm/test_versioning.py",
    "test/orm/test_events.py",
    "test/orm/test_naturalpks.py",
    "test/orm/test_merge.py",
    "test/orm/test_cycles.py",
    "test/orm/test_manytomany.py",
    "test/orm/test_association.py",
    "test/orm/test_dynamic.py",
    "test/orm/test_bind.py",
    "test/orm/test_defaults.py",
    "test/orm/test_scoping.py",
    "test/orm/test_load_on_fks.py",
    "test/orm/test_composites.py",
    "test/orm/test_backref_mutations.py",
    "test/orm/test_collection.py",
    "test/orm/test_hasparent.py",
    "test/orm/test_sync.py",
    "test/orm/test_session_state_change.py",
    "test/orm/test_validators.py",
    "test/orm/test_pickled.py",
    "test/orm/test_dataclasses.py",
    "test/orm/test_immediate_load.py",
    "test/orm/test_lockmode.py",
    "test/orm/dml",
    "test/orm/inheritance/test_basic.py",
    "test/orm/inheritance/test_relationship.py",
    "test/orm/inheritance/test_poly_persistence.py",
    "test/orm/inheritance/test_single.py",
    "test/orm/inheritance/test_concrete.py",
    "test/orm/inheritance/test_manytomany.py",
    "test/orm/inheritance/test_magazine.py",
    "test/orm/inheritance/test_productspec.py",
    "test/orm/inheritance/test_selects.py",
    "test/ext/asyncio",
    "test/ext/test_horizontal_shard.py",
    "test/ext/test_mutable.py",
    "test/ext/test_orderinglist.py",
    "test/ext/test_associationproxy.py",
)


def writing(suite: Path) -> list[str]:
    """Return what writes rows through sessions, so what Filerow takes part in: some 4,800 tests."""
    return [path for path in _WRITING if (suite / path).exists()]
