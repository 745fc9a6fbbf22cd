"""The pictures of the documents are those that the tools draw."""

from __future__ import annotations

import re

import pytest

from tools import drawings, plots


@pytest.mark.parametrize("name", sorted(drawings.drawings() | plots.plots()))
def test_drawing_is_the_one_that_is_drawn(name: str) -> None:
    wanted = (drawings.drawings() | plots.plots())[name].svg()
    assert (drawings.FOLDER / f"{name}.svg").read_text() == wanted, "run: python -m tools.drawings; python -m tools.plots"


def test_all_drawings_are_drawn() -> None:
    assert {file.stem for file in drawings.FOLDER.glob("*.svg")} == {*drawings.drawings(), *plots.plots()}


def test_plots_show_the_figures_of_the_page() -> None:
    page = plots.SPEED.read_text()
    bars = plots.ratios()
    assert len(bars) > 20
    for bar in bars:
        assert f", {bar.value:.2f}" in page or bar.value < 0.1  # the latter is computed from "13 times faster"
    assert [bar.value for bar in plots.memory()] == [30, 10, 3, 29]
    assert all(bar.limit == 64 for bar in plots.memory())
    assert len({bar.work for bar in bars}) == len(re.findall(r" → [^|]*\| [^|]*\| [\d.]+(?: times faster)? \|", page))
