"""The conformance kit: it catches each broken backend, is not lost by accident, and runs without pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from filerow.backends.base import StorageBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.testing import CaseFailedError, Conformance, Harness, Outcome, overrides_case, run
from filerow.testing.cases import CASES
from tests.testing.broken import BROKEN, SECRET, Sound

CASE = "test_a_small_object_goes_round_sync"


class On(Harness):
    large = True

    def __init__(self, kind: type[StorageBackend]) -> None:
        self.kind: Any = kind

    def make(self) -> StorageBackend:
        backend: StorageBackend = self.kind()
        return backend


@pytest.mark.one_in(3)
@pytest.mark.parametrize(("kind", "case"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_backend_is_caught_on_each_side(kind: type[MemoryBackend], case: str) -> None:
    results = list(run(On(kind), cases=[case]))
    assert [result.side for result in results] == list(CASES[case].sides)
    assert all(result.outcome is Outcome.FAILED and result.message for result in results), results


def test_what_catches_a_broken_backend_passes_on_a_sound_one() -> None:
    results = list(run(On(Sound), cases={case for _, case in BROKEN}))
    assert [result for result in results if result.outcome is not Outcome.PASSED] == []


class InUtf8(Sound):
    """Keeps names as a server or a database does, which takes no lone surrogates."""

    def _get(self, path: str) -> Any:
        path.encode()
        return super()._get(path)

    def _delete(self, paths: Sequence[str]) -> Mapping[str, BaseException]:
        failed: dict[str, BaseException] = {}
        for path in paths:
            try:
                path.encode()
            except UnicodeEncodeError as error:
                failed[path] = error
            else:
                super()._delete([path])
        return failed


def test_path_that_a_store_cannot_be_asked_for_is_invalid() -> None:
    results = list(run(On(InUtf8), cases=["hostile_paths_find_nothing_and_delete_nothing"]))
    assert [(result.outcome, result.message) for result in results] == [(Outcome.PASSED, "")] * 2


def test_a_case_that_was_overridden_by_accident_is_an_error() -> None:
    with pytest.raises(TypeError, match=f"TestMine.{CASE} hides the case a_small_object_goes_round"):
        type("TestMine", (Conformance,), {CASE: lambda self: None})
    with pytest.raises(TypeError, match="hides the case"):
        type("TestMine", (Conformance,), {CASE: None})
    mixin = type("Mixin", (), {CASE: lambda self: None})
    with pytest.raises(TypeError, match=f"Mixin.{CASE} hides the case"):
        type("TestMine", (mixin, Conformance), {})


def test_a_case_is_overridden_with_a_reason() -> None:
    mine = type("TestMine", (Conformance,), {CASE: overrides_case("it takes an hour")(lambda self: None)})
    assert mine.overridden == {CASE: "it takes an hour"}
    assert type("TestMore", (mine,), {}).overridden == mine.overridden
    with pytest.raises(TypeError, match=r"TestMine.test_a_smal_object overrides no case"):
        type("TestMine", (Conformance,), {"test_a_smal_object": overrides_case("why")(lambda self: None)})
    with pytest.raises(ValueError, match="say why"):
        overrides_case(" ")


def test_known_faults_are_cases_and_stay_true() -> None:
    with pytest.raises(TypeError, match="names what is not a case: nothing"):
        type("TestMine", (Conformance,), {"known_faults": {"nothing": "x"}})

    class Fixed(Harness):
        known_faults = {"a_small_object_goes_round": "it loses bytes"}

        def make(self) -> StorageBackend:
            return Sound()

    class Faulty(On):
        known_faults: Mapping[str, str] = {"deleting_is_idempotent_sync": "it complains"}

    results = list(run(Fixed(), cases=["a_small_object_goes_round"]))
    assert [result.outcome for result in results] == [Outcome.FAILED] * 2
    assert "passes, so it need not be among known_faults any more" in results[0].message
    broken = next(kind for kind, case in BROKEN if case == "deleting_is_idempotent")
    known = list(run(Faulty(broken), cases=["deleting_is_idempotent"]))
    assert [(result.side, result.outcome) for result in known] == [
        ("sync", Outcome.DOES_NOT_APPLY),
        ("async", Outcome.FAILED),
    ]
    assert known[0].message == "known fault: it complains"


def test_every_case_is_a_sentence_with_an_explanation() -> None:
    assert len(CASES) > 55
    for case in CASES.values():
        assert case.name.count("_") >= 2
        assert (case.check.__doc__ or "").strip(), case.name
        for side in case.sides:
            assert callable(getattr(Conformance, f"test_{case.name}_{side}"))


def test_what_a_case_has_made_is_removed_even_when_it_fails(tmp_path: Path) -> None:
    class Failing(LocalBackend):
        def _copy(self, source: str, target: str) -> Any:
            super()._copy(source, target)
            raise OSError("full")

    class Here(Harness):
        def make(self) -> StorageBackend:
            return Failing("here", tmp_path, fsync=False)

    results = list(run(Here(), cases=["a_small_object_goes_round", "deleting_is_idempotent"]))
    assert [result.outcome for result in results] == [Outcome.FAILED, Outcome.FAILED, Outcome.PASSED, Outcome.PASSED]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_unknown_case_is_an_error_at_once() -> None:
    with pytest.raises(ValueError, match="no case or side called nothing"):
        run(On(Sound), cases=["nothing"])


def test_a_case_fails_without_assertions_and_without_pytest() -> None:
    code = f"""
import sys
from filerow.testing import Harness, run
from tests.testing.broken import Overwrites, SECRET
class On(Harness):
    def make(self):
        return Overwrites()
(result,) = run(On(), sides=["sync"], cases=["a_taken_path_is_refused_and_keeps_its_bytes"])
print(result.outcome, "pytest" in sys.modules, {SECRET!r} == SECRET)
"""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["failed", "False", "True"]


@pytest.mark.parametrize(
    ("options", "outcome", "said"),
    [
        (["-p", "filerow.testing.plugin"], "4 passed", "  a_missing_bucket_is_an_error_of_the_one_tree: TestMine"),
        pytest.param([], "2 passed, 2 skipped", "does not apply: the harness makes no backend", marks=pytest.mark.thorough),
    ],
    ids=["plugin", "plain"],
)
def test_pytest_shows_what_did_not_apply(options: list[str], outcome: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "from filerow.backends.memory import MemoryBackend\n"
        "from filerow.testing import Conformance\n\n\n"
        "class TestMine(Conformance):\n"
        "    def make(self):\n"
        '        return MemoryBackend("mine")\n'
    )
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-k", "small_object or missing_bucket", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *options, "."], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert outcome in done.stdout
    assert said in done.stdout


def test_a_failure_says_what_was_expected() -> None:
    error = CaseFailedError("what the path holds: expected b'first', got b'second'")
    assert isinstance(error, AssertionError)
    broken = next(kind for kind, case in BROKEN if case == "a_taken_path_is_refused_and_keeps_its_bytes")
    (result,) = run(On(broken), sides=["sync"], cases=["a_taken_path_is_refused_and_keeps_its_bytes"])
    assert "expected ObjectExistsError, but nothing was raised" in result.message


def test_the_documentation_lists_every_case() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()
    assert re.findall(r"^- `(\w+)`", text, re.MULTILINE) == list(CASES)
