"""Sync and async code have the same functions, with the same names and options."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.test_exports import load

NAMES = [line.split(": ") for line in (Path(__file__).parent / "public_names.txt").read_text().splitlines()]


def _twins() -> Iterator[tuple[str, Any, Any]]:
    for module, name in NAMES:
        home = load("filerow" if module == "filerow" else f"filerow.{module}")
        found = getattr(home, name)
        if name.endswith("_async"):
            yield f"{module}.{name}", getattr(home, name.removesuffix("_async")), found
        if inspect.isclass(found):
            for key in dir(found):
                if key.endswith("_async") and not key.startswith("_") and hasattr(found, key.removesuffix("_async")):
                    yield f"{module}.{name}.{key}", getattr(found, key.removesuffix("_async")), getattr(found, key)


TWINS = {label: (plain, awaited) for label, plain, awaited in _twins()}


def test_twins_take_the_same_options() -> None:
    for label, (plain, awaited) in TWINS.items():
        assert _options_of(awaited) == _options_of(plain), label


def _options_of(function: Any) -> list[tuple[str, Any, Any]]:
    return [(one.name, one.kind, one.default) for one in inspect.signature(function).parameters.values()]


def test_twins_are_explained() -> None:
    assert not [label for label, twins in TWINS.items() if not all(function.__doc__ for function in twins)]


def test_there_are_twins() -> None:
    assert len(TWINS) > 40
