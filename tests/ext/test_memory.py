"""A big file goes up and down through each framework in bounded memory (promise P11), in a server process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.ext.big import MIB, server
from tests.ext.conftest import FRAMEWORKS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")]

SIZE = 96 * MIB
ALLOWED = 48 * MIB


@pytest.mark.one_in(4)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_big_file_needs_a_few_parts_of_memory(framework: str, tmp_path: Path) -> None:
    with server(framework, tmp_path) as running:
        running.upload(MIB)  # connections, threads and modules are the baseline
        running.download(1, MIB)
        up = running.upload(SIZE)
        down = running.download(2, SIZE)
    assert up.peak <= ALLOWED
    assert down.peak <= ALLOWED
