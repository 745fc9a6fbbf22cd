"""Documents in which a later release has written more: what this one does not know survives its edits (P13)."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import JSON, text, type_coerce, update

from tests.cases.models import Document
from tests.cases.world import World

MORE = {"labels": {"thumb": "a/b"}, "since": 2}


def add(world: World) -> Document:
    """Return a row whose documents have fields that this release does not know."""
    row = world.add(title="a", file=world.file(b"file"), pages=world.files(2))
    table = Document.__table__
    file, pages = documents(world, row.id)
    changed = {"file": {**file, **MORE}, "pages": [{**page, **MORE} for page in pages]}
    plain = {name: type_coerce(value, JSON) for name, value in changed.items()}
    world.session.connection().execute(update(table).where(table.c.id == row.id).values(plain))  # type: ignore[arg-type]
    world.session.commit()
    return row  # type: ignore[no-any-return]


def documents(world: World, number: int) -> tuple[Any, Any]:
    row = world.session.connection().execute(text("SELECT file, pages FROM document WHERE id = :id"), {"id": number}).one()
    file, pages = (json.loads(value) if isinstance(value, str) else value for value in row)
    return file, pages


def test_an_edit_of_a_file_keeps_unknown_fields(world: World) -> None:
    row = add(world)
    assert row.file is not None
    row.file = row.file.replace(filename="dog.png", metadata={"a": 1})
    world.session.commit()
    file, _ = documents(world, row.id)
    assert (file["filename"], file["metadata"]) == ("dog.png", {"a": 1})
    assert MORE.items() <= file.items()


def test_a_longer_list_keeps_unknown_fields(world: World) -> None:
    row = add(world)
    row.pages.append(world.file(b"new"))
    world.session.commit()
    _, pages = documents(world, row.id)
    assert [MORE.items() <= page.items() for page in pages] == [True, True, False]


def test_a_file_that_moves_takes_unknown_fields_along(world: World) -> None:
    row = add(world)
    other = Document(title="b", file=row.file)
    row.file = None
    world.session.add(other)
    world.session.commit()
    assert MORE.items() <= documents(world, other.id)[0].items()
