"""The drawings in plain text name modules that there are; tests/test_layers.py compares the order of the layers."""

from __future__ import annotations

import re

import pytest

from tests.documents import blocks
from tests.documents.blocks import Block
from tests.servers._process import ROOT

PACKAGE = ROOT / "src" / "filerow"
MODULE = re.compile(r"(?<![\w/.])(_\w+/\w+)\b")
BLOCKS = blocks.of(__file__)


def exists(module: str) -> bool:
    return (PACKAGE / f"{module}.py").exists() or (PACKAGE / module / "__init__.py").exists()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_its_modules_exist(block: Block) -> None:
    assert [name for name in MODULE.findall(block.text) if not exists(name)] == []


def test_steps_of_a_drain_are_those_of_its_code() -> None:
    steps = blocks.find(__file__, "docs/design.md text lease ")
    assert [line.split()[1] for line in steps.text.splitlines() if line[:1].isdigit()] == ["lease", "delete", "settle"]
    source = "\n".join(path.read_text() for path in (PACKAGE / "outbox").glob("_*.py"))
    assert re.search(r"def \w*lease", source)
    assert re.search(r"def \w*settle", source)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_its_lines_fit(block: Block) -> None:
    assert max(map(len, block.text.splitlines())) <= 120
