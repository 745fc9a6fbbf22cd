"""Making the places of backends known to a database, as they are after its first deleting run, and what lies in them for that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, MetaData

from filerow import storages
from filerow.maintenance import sweep

__all__ = ("RECORD", "know_places")

RECORD = "staged/places/00000000000070008000000000000000.json"
"""The object in each place that says which database may delete there."""


def know_places(metadata: MetaData, engine: Engine, keys: Sequence[str] = (), also: Sequence[Any] = ()) -> None:
    """Take the places of all backends over for a database, by a sweep that sees nothing, so that the next run deletes."""
    backends = keys or storages.registered_backends()
    for _ in sweep(metadata, engine, delete=True, take_over=True, listing=lambda *_: (), backends=backends, also=also):
        pass
