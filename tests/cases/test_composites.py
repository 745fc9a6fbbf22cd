"""Rows of bulk statements that name a file by a composite or a hybrid attribute."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.hybrid import hybrid_property

from filerow.exceptions import UnsupportedRouteError
from tests.cases.models import Framed, Picture
from tests.cases.world import World

NAMES = ["picture", "original"]


def named(name: str, file: Any) -> Any:
    if name == "original" and not hasattr(hybrid_property, "bulk_dml"):
        pytest.skip("SQLAlchemy 2.0 has no bulk_dml for hybrids")
    return Picture(file, None) if name == "picture" else file


def two(world: World) -> list[Framed]:
    rows = [Framed(id=number, picture=Picture(world.file(b"%d" % number), "old")) for number in (1, 2)]
    world.session.add_all(rows)
    world.session.commit()
    return rows


def stored(world: World) -> list[bytes | None]:
    found = world.session.scalars(select(Framed).order_by(Framed.id)).all()
    return [None if one.file is None else world.stored(one.file) for one in found]


@pytest.mark.parametrize("name", NAMES)
def test_inserted_rows_store_the_files_they_name(world: World, name: str) -> None:
    files = [named(name, file) for file in (world.file(b"3"), world.file(b"4"))]
    world.session.execute(insert(Framed), [{"id": number, name: file} for number, file in enumerate(files)])
    world.session.commit()
    assert stored(world) == [b"3", b"4"]


@pytest.mark.parametrize("name", NAMES)
def test_inserted_row_gets_a_copy_of_another_s_file(world: World, name: str) -> None:
    first, _ = two(world)
    given = [{"id": 3, name: named(name, first.picture.file)}]
    world.session.execute(insert(Framed), given)
    world.session.commit()
    assert stored(world) == [b"1", b"2", b"1"]
    assert list(given[0]) == ["id", name]


@pytest.mark.parametrize("name", NAMES)
def test_updated_row_gets_a_copy_of_another_s_file(world: World, name: str) -> None:
    first, second = two(world)
    world.session.execute(update(Framed), [{"id": second.id, name: named(name, first.picture.file)}])
    world.session.commit()
    assert stored(world) == [b"1", b"1"]


@pytest.mark.parametrize("name", NAMES)
def test_updated_row_without_a_file_loses_its_object(world: World, name: str) -> None:
    world.session.execute(update(Framed), [{"id": two(world)[0].id, name: named(name, None)}])
    world.session.commit()
    assert stored(world) == [None, b"2"]


@pytest.mark.parametrize("name", NAMES)
def test_composite_inside_from_statement_is_refused(world: World, name: str) -> None:
    given = [{"id": 3, name: named(name, two(world)[0].picture.file)}]
    with pytest.raises(UnsupportedRouteError, match="from_statement"):
        world.session.execute(select(Framed).from_statement(insert(Framed).returning(Framed)), given)


def test_statement_whose_rows_name_columns_is_refused(world: World) -> None:
    given = [{"id": 3, "file": two(world)[0].picture.file}]
    with pytest.raises(UnsupportedRouteError, match="dml_strategy"):
        world.session.execute(insert(Framed), given, execution_options={"dml_strategy": "orm"})
