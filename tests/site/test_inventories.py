"""Names of other projects that the reference links to: each is one that the installed package has."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.servers._process import ROOT

FILES = sorted((ROOT / "docs" / "inventories").glob("*.txt"))
ADDRESSES = {
    "alembic": "https://alembic.sqlalchemy.org/en/latest",
    "python": "https://docs.python.org/3",
    "sqlalchemy": "https://docs.sqlalchemy.org/en/20",
}
BUILT_IN = {
    "constants": ("data",),
    "exceptions": ("exception",),
    "functions": ("class", "function"),
    "stdtypes": ("class",),
}
"""The pages of the standard library that are not a module's, and the kinds that they have."""


class Entry(NamedTuple):
    """A line of an inventory."""

    project: str
    name: str
    kind: str
    page: str
    anchor: str

    def __str__(self) -> str:
        """Return its name."""
        return self.name


def entries() -> Iterator[Entry]:
    for file in FILES:
        for line in file.read_text().splitlines()[1:]:
            name, kind, where = line.split()
            page, _, anchor = where.replace("$", name).partition("#")
            yield Entry(file.stem, name, kind, page, anchor)


def resolve(name: str) -> object:
    """Return what a dotted name means: the longest module, then its attributes.

    Raises:
        AttributeError: It means nothing.
    """
    if "." not in name:
        name = f"builtins.{name}"
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AttributeError(name)


def kinds_of(value: object) -> set[str]:
    """Return the kinds that an entry for a value may have."""
    if inspect.isclass(value):
        return {"exception"} if issubclass(value, BaseException) else {"class", "data"}
    if inspect.isroutine(value):
        return {"function", "class", "data"} if value.__name__[0].isupper() else {"function"}  # typing.NamedTuple
    return {"data"}


@pytest.mark.parametrize("entry", list(entries()), ids=str)
def test_name_exists_and_its_anchor_means_the_same(entry: Entry) -> None:
    value = resolve(entry.name)
    assert entry.kind in kinds_of(value)
    assert resolve(entry.anchor) is value
    assert entry.page.endswith(".html")


@pytest.mark.parametrize("entry", [entry for entry in entries() if entry.project == "python"], ids=str)
def test_page_of_the_standard_library_is_the_one_of_the_module(entry: Entry) -> None:
    page = entry.page.removeprefix("library/").removesuffix(".html")
    module = entry.name.rpartition(".")[0]
    if not module:
        assert entry.kind in BUILT_IN[page]
    elif module == "asyncio":
        assert page.startswith("asyncio-")
    else:
        assert module == page or module.startswith(f"{page}.")


def test_each_project_has_its_address() -> None:
    assert {file.stem: file.read_text().splitlines()[0] for file in FILES} == ADDRESSES
    names = [entry.name for entry in entries()]
    assert len(names) == len(set(names)) > 100


def test_wrong_entries_are_found() -> None:
    for wrong in ("sqlalchemy.orm.Sessions", "collections.abc.Iterators", "byteses", "nowhere.Name"):
        with pytest.raises(AttributeError):
            resolve(wrong)
    assert resolve("sqlalchemy.schema.Column") is resolve("sqlalchemy.Column")
    assert kinds_of(ValueError) == {"exception"}
