"""The comparison with other libraries: README repeats what docs/comparison.md has, and the page what was measured."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare.__main__ import question
from benchmarks.compare.experiments import EXPERIMENTS
from tests.servers._process import ROOT

PAGE = (ROOT / "docs" / "comparison.md").read_text()
LIBRARIES = ("filerow", "advanced-alchemy", "sqlalchemy-file")
ASKED = {
    "size, checksum and etag in the row after commit": ("size", "checksum", "etag"),
    "bytes readable elsewhere when `await commit()` returns": ("durable_async",),
    "a failed upload leaves no row without bytes": ("failed_upload",),
    "two uploads of one name keep their own bytes": ("same_name",),
    "one file on two rows survives deleting one": ("two_owners",),
    "a rolled-back savepoint keeps the other files": ("savepoint_rolled_back",),
    "`close()` without commit removes the new file": ("close",),
    "bulk insert and delete keep rows and bytes equal": ("bulk_insert", "bulk_delete"),
    "thumbnails, never stale, gone with their file": (
        "thumbnail", "thumbnail_deleted", "thumbnail_rolled_back", "thumbnail_recipe",
    ),
    "images of strangers are decoded in another process": ("thumbnail_process",),
    "the event loop runs on during an upload": ("event_loop",),
    "calls to set up, beyond column and session": ("set_up",),
}  # fmt: skip
"""What each row of README's table says, by the experiments that measure it."""
UNSURE = {"durable_async", "async_session"}
"""What Advanced Alchemy's background work gets done in one run and not in another."""


def table(text: str, first: str) -> dict[str, list[str]]:
    """Return the cells of the table whose head begins so, without numbers of notes, by the first cell of each row."""
    lines = text[text.index(first) :].partition("\n\n")[0].splitlines()[2:]
    rows = [[re.sub(r" \[\d+\]$", "", cell.strip()) for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def measured() -> dict[str, list[str]]:
    """Return the answers of the page, by the name of the experiment."""
    answers = table(PAGE, "| | Filerow | ")
    return {name: answers[question(name)] for name in EXPERIMENTS}


def test_page_has_each_question_and_no_other() -> None:
    assert sorted(table(PAGE, "| | Filerow | ")) == sorted(question(name) for name in EXPERIMENTS)


@pytest.mark.parametrize("page", ["README.md", "docs/why.md"])
def test_pages_count_the_questions_right(page: str) -> None:
    assert re.findall(r"(\d+) questions", (ROOT / page).read_text()) == [str(len(EXPERIMENTS))]


def test_each_cell_of_readme_was_measured() -> None:
    answers = measured()
    rows = table((ROOT / "README.md").read_text(), "| | Filerow 0.1 | ")
    assert rows.keys() == ASKED.keys()
    for row, cells in rows.items():
        for library, cell in enumerate(cells):
            found = {answers[name][library] for name in ASKED[row]}
            expected = {"none": {"no", "none"}, "size": {"yes", "no"}, "stale": {"yes", "no"}}  # the words of this table alone
            assert found in ({cell}, expected.get(cell)), row


def test_readme_names_the_versions_that_were_measured() -> None:
    [head] = re.findall(r"^\| \| (Filerow .*) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    versions = PAGE[PAGE.index("Versions:") :]
    for name in head.split(" | "):
        library, _, version = name.rpartition(" ")
        assert f"{library.lower().replace(' ', '-')} {version}" in versions


@pytest.mark.thorough
def test_page_has_what_is_measured_today(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy_file", reason="not covered: sqlalchemy-file is not installed; to install it: make venv")
    command = [sys.executable, "-m", "benchmarks.compare", "--json", str(tmp_path / "answers.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=900)
    answers = json.loads((tmp_path / "answers.json").read_text())["answers"]
    words = {"makes none": "none"}
    for name, expected in measured().items():
        found = [words.get(answers[name][library]["value"], answers[name][library]["value"]) for library in LIBRARIES]
        if name in UNSURE:
            found[1] = expected[1]
        if "not run" not in found:
            assert found == expected, name
