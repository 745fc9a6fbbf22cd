"""No block of the documents is left out: a test runs it, or a reason says why none can."""

from __future__ import annotations

import pytest

from tests.documents.blocks import COMMANDS_NOT_RUN, NOT_RUN, RUN_BY, Block, all_blocks, is_run_as_python, matches, pages
from tests.documents.reader import commands
from tests.servers._process import ROOT

BLOCKS = [block for block in all_blocks() if not is_run_as_python(block)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_each_block_is_run_or_says_why_not(block: Block) -> None:
    keys = [key for key in (*RUN_BY, *NOT_RUN) if matches(key, block)]
    assert len(keys) == 1, (
        f"{block}: say in tests/documents/blocks.py which test runs this {block.language} block, or why none can"
    )


def test_tables_of_blocks_name_what_is_there() -> None:
    assert [key for key in (*RUN_BY, *NOT_RUN) if not any(matches(key, block) for block in BLOCKS)] == []
    for key, module in RUN_BY.items():
        page = key.split()[0]
        source = (ROOT / module).read_text()
        assert "blocks.of(__file__)" in source or "blocks.find(" in source or page.rpartition("/")[2] in source, (module, page)


def test_few_blocks_are_not_run() -> None:
    assert len([block for block in BLOCKS if block.key in NOT_RUN]) <= 5, "what cannot be run is hard to keep true"


def test_few_commands_are_not_run() -> None:
    consoles = [block for block in BLOCKS if block.language == "console" and block.key in RUN_BY]
    left_out = [command for block in consoles for command, _ in commands(block) if command.startswith(tuple(COMMANDS_NOT_RUN))]
    assert len(left_out) <= 7, left_out
    for words in COMMANDS_NOT_RUN:
        assert any(
            command.startswith(words) for block in BLOCKS if block.language == "console" for command, _ in commands(block)
        ), words


def test_a_block_of_no_class_is_found() -> None:
    assert not any(matches(key, Block("docs/guide.md", 1, "console", "$ true")) for key in (*RUN_BY, *NOT_RUN))
    assert matches("docs/start.md console uvicorn", Block("docs/start.md", 1, "console", "$ uvicorn web:app"))
    assert not matches("docs/start.md console uvicorn", Block("docs/start.md", 1, "console", "$ pip install filerow"))


def test_pages_that_the_site_includes_count() -> None:
    names = {str(page.relative_to(ROOT)) for page in pages()}
    assert {"README.md", "docs/start.md", "examples/flask_documents/README.md", "docker/minio/README.md"} <= names
