"""``python -m tests.documents`` lists the blocks of all pages, and which test runs each."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from tests.documents.blocks import NOT_RUN, PYTHON, RUN_BY, all_blocks, is_run_as_python


def lines() -> Iterator[str]:
    """Yield a line for each block."""
    for block in all_blocks():
        if is_run_as_python(block):
            yield f"{block!s:50} {block.language:10} runs     {PYTHON}\n"
        elif block.key in RUN_BY:
            yield f"{block!s:50} {block.language:10} runs     {RUN_BY[block.key]}\n"
        else:
            yield f"{block!s:50} {block.language:10} NOT RUN  {NOT_RUN[block.key]}\n"


if __name__ == "__main__":
    sys.stdout.writelines(lines())
