"""All databases and models that may name an object in a shared place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import Connection, Engine, MetaData

from filerow._execution.batch import call
from filerow._orm.events import listen_to_questions
from filerow._orm.ownership import Ref
from filerow._orm.references import Named, file_columns, referenced
from filerow._orm.visibility import check_shows_all, unfiltered
from filerow._paths import RECORD
from filerow._registry import storages
from filerow.exceptions import ObjectHiddenError, ObjectNotFoundError, StorageError
from filerow.outbox._isolation import oldest_writer, snapshot
from filerow.outbox._strangers import check_no_strangers
from filerow.outbox._triggers.install import check_knows_all
from filerow.outbox._triggers.shared_outbox import check_names_all

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

Also: TypeAlias = "Sequence[MetaData | Engine | AsyncEngine | tuple[MetaData, Engine | AsyncEngine]]"
"""Who else may name objects: other models of the same database, the same models in another one, or both another."""


class Census:
    """The databases whose rows may name an object.

    Args:
        metadata: The models.
        engine: Their database.
        also: Others that store files in the same places.
    """

    def __init__(self, metadata: MetaData, engine: Engine, also: Also = ()) -> None:
        listen_to_questions()
        self._lineages: dict[str, str | None] = {}
        self.databases: list[tuple[MetaData, Engine]] = [(metadata, engine)]
        for other in also:
            models, place = other if isinstance(other, tuple) else (metadata, other)
            if isinstance(place, MetaData):
                models, place = place, engine
            self.databases.append((models, place if isinstance(place, Engine) else place.sync_engine))

    def check_shows_all(self) -> None:
        """Check that policies, views or a lagging server hide no rows.

        Raises:
            MaintenanceRefusedError: They may.
        """
        for metadata, engine in self.databases:
            with engine.connect() as connection:
                own = metadata is self.databases[0][0]
                check_shows_all(connection, {column.table: None for column in file_columns(metadata)}, own=own)

    def check(self) -> None:
        """Check that all rows of all of them can be seen.

        Raises:
            MaintenanceRefusedError: Some may not.
        """
        self.check_shows_all()
        known = [metadata for metadata, _ in self.databases]
        for metadata, engine in self.databases:
            with engine.connect() as connection:
                check_knows_all(connection, metadata, known)
                check_no_strangers(connection, known)
        check_names_all(self.databases)

    def oldest_writer(self) -> float:
        """Return when the oldest open transaction with changes began.

        It may be in any of the databases; infinity if there is none.
        """
        return min((found for _, engine in self.databases if (found := oldest_writer(engine)) is not None), default=math.inf)

    def named(self, refs: Iterable[Ref], connection: Connection | None = None) -> Named:
        """Find those of the objects that a row names anywhere.

        Args:
            refs: The objects.
            connection: What to ask the first database by; one of its own, with a snapshot, when left out.

        Raises:
            MaintenanceRefusedError: Row level security would hide rows.
        """
        wanted = list(refs)
        found = Named()
        for number, (metadata, engine) in enumerate(self.databases):
            if number == 0 and connection is not None:
                with unfiltered(connection):
                    found |= referenced(connection, metadata, wanted)
            else:
                with snapshot(engine) as own, unfiltered(own):
                    found |= referenced(own, metadata, wanted)
        same = {ref for ref, keys in found.elsewhere.items() if any(self._is_one_place(ref.backend, key) for key in keys)}
        return found | Named(refs=same)

    def _is_one_place(self, *keys: str) -> bool:
        """Return True if backends are one place by its record, or if that is unknown."""
        try:
            lineages = {self._lineage(key) for key in keys}
        except StorageError:
            return True
        return len(lineages) == 1 and None not in lineages

    def _lineage(self, key: str) -> str | None:
        """Return which place a backend is; ``None`` where no run has said."""
        if key not in self._lineages:
            backend = storages.get_backend(key)
            try:
                record: Any = json.loads(call(backend.read, backend.read_async, RECORD))
            except (ObjectNotFoundError, ObjectHiddenError):
                return None
            except ValueError:
                record = {}
            self._lineages[key] = str(record.get("lineage")) if isinstance(record, dict) else ""
        return self._lineages[key]
