"""The model: a dictionary of rows, each a dictionary of columns, each the bytes that must be read there."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from tests.cases.models import Document, Dog, Folder, Named, Note, Postponed, Sheet
from tests.cases.world import World
from tests.soak.walks.model import Committed, Key, Row

CLASSES: dict[str, type[Any]] = {
    "document": Document,
    "postponed": Postponed,
    "dog": Dog,
    "named": Named,
    "note": Note,
    "sheet": Sheet,
    "folder": Folder,
}
SINGLE: dict[str, tuple[str, ...]] = {
    "document": ("file", "cover", "attachment"),
    "postponed": ("file",),
    "dog": ("photo", "chip"),
    "named": ("file",),
    "note": ("file",),
    "sheet": ("file",),
    "folder": (),
}
LISTS = {"document": ("pages",), "postponed": ("pages",)}
SELECTS = {
    "document": "SELECT id, file, cover, attachment, pages FROM document",
    "postponed": "SELECT id, file, pages FROM postponed",
    "dog": "SELECT dog.id, photo, chip FROM dog JOIN animal ON animal.id = dog.id",
    "named": "SELECT id, file FROM named",
    "note": "SELECT id, file FROM note",
    "sheet": "SELECT id, file FROM sheet",
    "folder": "SELECT id FROM folder",
}
ROWS: list[Key] = [
    *(("document", number) for number in (1, 2, 3)),
    *((table, number) for table in ("postponed", "dog", "named", "note") for number in (1, 2)),
    *(("sheet", number) for number in (1, 2, 3, 4)),
]
SLOTS = [(key, column) for key in ROWS for column in SINGLE[key[0]]]
LIST_ROWS = [key for key in ROWS if key[0] in LISTS]


def columns_of(key: Key) -> tuple[str, ...]:
    """Return a row's file columns."""
    return SINGLE[key[0]] + LISTS.get(key[0], ())


def blank(key: Key) -> Row:
    """Return a row without files."""
    return {**dict.fromkeys(SINGLE[key[0]]), **dict.fromkeys(LISTS.get(key[0], ()), ())}


class Book(Committed):
    """What is committed: of a column ``None`` or bytes, of a list a tuple of bytes; of a sheet also its folder.

    Attributes:
        versions: How often each row was written, by which a session's view of it shows its age.
    """

    def __init__(self) -> None:
        super().__init__()
        self.versions: Counter[Key] = Counter()

    def commit(self, writes: dict[Key, Row | None]) -> None:
        """Take over what a transaction has written."""
        self.versions.update(writes.keys())
        super().commit(writes)

    def compare(self, world: World, *, settled: bool) -> None:
        """Assert that rows, objects and this model are equal.

        Args:
            world: The real thing.
            settled: No transaction is open, so that every object must have a row.
        """
        found: dict[Key, Row] = {}
        for table, query in SELECTS.items():
            for number, *values in world.database.select(query):
                key = (table, number)
                found[key] = {c: _contents(world, value) for c, value in zip(columns_of(key), values, strict=True)}
        expected = {key: {c: v for c, v in row.items() if c != "folder"} for key, row in self.rows.items()}
        different = {
            key: (found.get(key), expected.get(key)) for key in {*found, *expected} if found.get(key) != expected.get(key)
        }
        assert not different, f"the rows are not what the model says: {different}"
        world.check(self.orphans, settled=settled)


def _contents(world: World, value: Any) -> Any:
    document = json.loads(value) if isinstance(value, str) else value
    if document is None:
        return None
    if isinstance(document, list):
        return tuple(world.store.read(one["backend"], one["path"]) for one in document)
    return world.store.read(document["backend"], document["path"])
