"""The tool that runs SQLAlchemy's own tests; here it runs three of ours, for those need no download."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tools.sqlalchemy_suite.__main__ import main
from tools.sqlalchemy_suite.differences import Difference, Known, compare, neutral
from tools.sqlalchemy_suite.results import Finding, Mode, Outcome

Tool = Callable[..., tuple[int, str]]

PAST_THE_ORM = """
[[known]]
kind = "orphan"
test = "*::test_sql_past_the_orm"
cause = "^SQL past the ORM: DELETE FROM author"
reason = "the test deletes past the ORM"
"""


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite in a folder of its own; what has run on it is reused."""
    folder = tmp_path_factory.mktemp("suite")
    shutil.copy(Path(__file__).with_name("small_suite.py"), folder / "test_small.py")
    return folder


@pytest.fixture
def tool(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run the tool on the small suite, with a triage file of its own, and return code and output."""
    triage = tmp_path / "triage.toml"

    def run(*arguments: str, known: str = "known = []") -> tuple[int, str]:
        triage.write_text(known)
        places = ["--suite", str(suite), "--cache", str(suite / "cache"), "--triage", str(triage)]
        code = main([*places, "--processes", "1", "--reuse", "all", *arguments, "test_small.py"])
        return code, capsys.readouterr().out

    return run


@pytest.mark.thorough
def test_unexplained_differences_fail_explained_ones_pass(tool: Tool) -> None:
    code, output = tool("--mode", "files")
    assert code == 1
    assert "1 tests differ in mode column, without Filerow" in output
    assert "new orphan: test_small.py::test_sql_past_the_orm" in output
    assert "1 new differences" in output

    code, output = tool("--mode", "files", known=PAST_THE_ORM)
    assert code == 0
    assert "nothing new" in output
    assert "1 orphan   the test deletes past the ORM" in output


@pytest.mark.thorough
@pytest.mark.parametrize(
    "kind",
    ["dangling", pytest.param("orphan", marks=pytest.mark.thorough), pytest.param("shared", marks=pytest.mark.thorough)],
)
def test_sabotage_of_files_is_found(tool: Tool, kind: str) -> None:
    code, output = tool("--mode", "files", "--sabotage", kind, known=PAST_THE_ORM)
    assert code == 1
    assert f"new {kind}: test_small.py::test_unit_of_work" in output


@pytest.mark.thorough
def test_sabotaged_listener_changes_outcomes(tool: Tool) -> None:
    code, output = tool("--mode", "listeners")
    assert code == 0
    code, output = tool("--mode", "listeners", "--sabotage", "listeners")
    assert code == 1
    assert "new outcome: test_small.py::test_unit_of_work" in output


def test_triage_entry_explains_what_it_names_only() -> None:
    known = Known("outcome", "reason", modes=["files"], test="a.py::T::test_*[x]", detail="needle", database="sqlite")
    difference = Difference(Mode.FILES, "outcome", "a.py::T::test_b[x]", "has\nneedle")
    assert known.explains(difference, "sqlite")
    assert not known.explains(difference, "postgresql")
    assert not known.explains(Difference(Mode.LISTENERS, "outcome", "a.py::T::test_b[x]", "needle"), "sqlite")
    assert not known.explains(Difference(Mode.FILES, "orphan", "a.py::T::test_b[x]", "needle"), "sqlite")
    assert not known.explains(Difference(Mode.FILES, "outcome", "a.py::T::test_b[y]", "needle"), "sqlite")


def test_control_explains_equal_outcomes_only() -> None:
    plain = {"a": Outcome("passed"), "b": Outcome("passed"), "c": Outcome("passed")}
    control = {"a": Outcome("failed"), "b": Outcome("passed"), "c": Outcome("failed")}
    run = {"a": Outcome("failed"), "b": Outcome("failed", "why"), "c": Outcome("passed", "", [Finding("orphan", "1: x")])}
    found = [(d.kind, d.test, d.detail) for d in compare(Mode.FILES, run, plain, control)]
    assert found == [("outcome", "b", "passed -> failed: why"), ("orphan", "c", "1: x")]


def test_missing_tests_are_differences() -> None:
    (difference,) = compare(Mode.FILES, {}, {"a": Outcome("passed")}, {})
    assert difference.detail == "passed -> missing: "


def test_test_names_lose_their_database() -> None:
    assert neutral("t.py::Some_sqlite+pysqlite_3_40_1::test_a") == "t.py::Some::test_a"
    assert neutral("t.py::Some_postgresql+psycopg_18_6::test_a") == "t.py::Some::test_a"
