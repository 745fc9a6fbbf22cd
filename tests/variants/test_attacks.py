"""A decoder that has been taken over reaches nothing, and nobody believes it."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import UndecodableError, VariantError, VariantTooLargeError
from filerow.variants import Custom, Resize, Thumbnail, VariantSource, VariantWorkers, make_variant
from tests.variants.pictures import four_colours, saved, seen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can take this much from a process")

SOURCE = saved(four_colours())


def attack(makers: VariantWorkers, name: str, source: VariantSource = SOURCE, **arguments: str | int) -> list[str]:
    recipe = Custom(name, f"tests.variants.attacks:{name}", version=1, arguments=arguments, format="png")
    return seen(make_variant(source, recipe, workers=makers)).tobytes().decode().split("\n")


@pytest.fixture
def stored() -> Iterator[FileObject]:
    """A file in a store, whose bytes a worker must ask for; it is handed others as a file."""
    storages.register_backend(MemoryBackend("remote"))
    yield FileObject(backend="remote", filename="a.png", content=SOURCE).save()
    storages.unregister_backend("remote")


def test_what_holds_here_was_tried(makers: VariantWorkers) -> None:
    assert makers.protections() == {"files", "memory", "network", "processes", "time"}


def test_no_file_can_be_read_or_written(makers: VariantWorkers, tmp_path: Path) -> None:
    there = tmp_path / "secret.txt"
    there.write_text("secret")
    answers = attack(makers, "files", there=str(there))
    assert len(answers) == 12
    assert [line for line in answers if not line.endswith(": PermissionError")] == []
    assert there.read_text() == "secret"
    assert list(tmp_path.iterdir()) == [there]


def test_no_network_can_be_reached(makers: VariantWorkers) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        answers = attack(makers, "network", port=server.getsockname()[1])
    assert len(answers) == 5
    assert [line for line in answers if ": reached" in line] == []


def test_no_other_process_can_be_reached(makers: VariantWorkers) -> None:
    answers = attack(makers, "processes")
    assert len(answers) == 12
    assert [line for line in answers if not line.endswith(": PermissionError")] == []


def test_there_is_no_environment_and_no_open_file(makers: VariantWorkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILEROW_SECRET", "s" * 40)
    environment, descriptors, loaded, arguments = attack(makers, "surroundings")
    assert set(environment.split(",")) <= {"GLIBC_TUNABLES", "LC_CTYPE"}  # the latter Python sets itself
    assert descriptors == "6"  # three of /dev/null, the ways to its worker and to the one that asks, and the original
    assert loaded == ""
    assert arguments.isdigit()


def test_what_one_image_did_the_next_does_not_see(makers: VariantWorkers) -> None:
    assert [attack(makers, "remember") for _ in range(4)] == [["1"]] * 4


LIES = {
    "page": "crashed", "huge": "output", "empty": "crashed", "unknown": "crashed", "beyond": "crashed", "nothing": "crashed",
    "lasting": "crashed", "refusal": "crashed", "long_refusal": "crashed", "foreign_refusal": "broken",
}  # fmt: skip


@pytest.mark.parametrize(
    "lie", [pytest.param(lie, marks=[pytest.mark.thorough] * (number > 0)) for number, lie in enumerate(LIES)]
)
def test_a_worker_is_not_believed(lie: str) -> None:
    with VariantWorkers(workers=1) as makers:
        recipe = Custom("forge", "tests.variants.attacks:forge", version=1, arguments={"kind": lie}, format="png")
        with pytest.raises((UndecodableError, VariantTooLargeError)) as refused:
            make_variant(SOURCE, recipe, workers=makers)
        assert refused.value.code == LIES[lie]
        assert "script" not in str(refused.value)
        assert make_variant(SOURCE, Thumbnail(8, 8), workers=makers).width == 8


def test_an_original_is_not_read_forever(makers: VariantWorkers, stored: FileObject) -> None:
    with pytest.raises(VariantError, match="asked for more than the file has"):
        attack(makers, "greedy", stored, size=len(SOURCE))


def test_a_worker_makes_few_requests_of_a_store(makers: VariantWorkers, stored: FileObject) -> None:
    with pytest.raises(VariantError, match="asked for more than the file has"):
        attack(makers, "piecemeal", stored)


def test_an_original_on_this_machine_cannot_be_changed(makers: VariantWorkers, tmp_path: Path) -> None:
    there = tmp_path / "a.png"
    there.write_bytes(SOURCE)
    answers = attack(makers, "overwrite", there)
    assert answers == ["write: OSError", "truncate: PermissionError", "chmod: PermissionError"]
    assert there.read_bytes() == SOURCE


class Overtaken(VariantWorkers):
    """Workers whose decoder has been taken over, whatever the recipe."""

    def __init__(self, attack: str, **arguments: str | int) -> None:
        super().__init__(workers=1)
        self._attack: Any = {"function": f"tests.variants.attacks:{attack}", "arguments": arguments}

    def make(self, plan: Any, original: Any, prove: Any) -> Any:
        taken: Any = {**plan, **self._attack}
        return super().make(taken, original, prove)


@pytest.mark.parametrize("lie", [{"side": 3000}, pytest.param({"side": 8, "frames": 1 << 31}, marks=pytest.mark.thorough)])
def test_an_image_beyond_its_recipe_is_refused(lie: dict[str, int]) -> None:
    with Overtaken("lie_about_size", **lie) as makers:
        with pytest.raises(UndecodableError, match="something else than the variant"):
            make_variant(SOURCE, Resize(width=100), workers=makers)


@pytest.mark.parametrize("code", ["function", pytest.param("unloaded", marks=pytest.mark.thorough)])
def test_words_of_a_decoder_reach_no_error(code: str) -> None:
    with Overtaken("refuse", code=code) as makers, pytest.raises(UndecodableError) as refused:
        make_variant(SOURCE, Resize(width=100), workers=makers)
    assert "script" not in str(refused.value)


@pytest.mark.thorough
def test_an_image_that_is_too_large_is_refused() -> None:
    with VariantWorkers(workers=1, max_output="10 kB") as makers:
        with pytest.raises(VariantTooLargeError, match="more than 10,000 bytes"):
            attack(makers, "larger")
        assert make_variant(SOURCE, Thumbnail(8, 8), workers=makers).width == 8
