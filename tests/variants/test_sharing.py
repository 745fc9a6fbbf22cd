"""Processes that make one image after the other: what one does, the next neither sees nor suffers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from filerow.exceptions import VariantError, VariantTimeoutError
from filerow.variants import Custom, MadeVariant, Resize, Thumbnail, VariantWorkers, make_variant
from tests.variants import attacks
from tests.variants.pictures import animation, four_colours, png_of_zeros, saved, seen

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process make more than one image")

SOURCE = saved(four_colours())
SMALL = Thumbnail(8, 8)


class Watched(VariantWorkers):
    """One worker, whose processes can be seen, and taken over as a decoder could be: by functions, which share them here."""

    def __init__(self, **options: Any) -> None:
        self._others = {one.pid for one in psutil.Process().children()}
        super().__init__(workers=1, **options)

    def _asked(self, plan: Any, original: Any) -> Any:
        return super()._asked(plan, original)._replace(images=self.images_per_process)

    def processes(self) -> list[psutil.Process]:
        """Return those that wait for another image."""
        workers = [one for one in psutil.Process().children() if one.pid not in self._others]
        return [one for worker in workers for one in worker.children() if one.status() != psutil.STATUS_ZOMBIE]

    def attack(self, name: str, **arguments: str | float) -> MadeVariant:
        recipe = Custom(name, f"tests.variants.attacks:{name}", version=1, arguments=arguments, format="png")
        return make_variant(SOURCE, recipe, workers=self)

    def small(self, source: bytes = SOURCE) -> bytes:
        return make_variant(source, SMALL, workers=self).content


@pytest.fixture(scope="module")
def expected() -> bytes:
    with VariantWorkers(workers=1, images_per_process=1) as makers:
        return make_variant(SOURCE, SMALL, workers=makers).content


@pytest.fixture
def watched() -> Iterator[Watched]:
    with Watched() as makers:
        yield makers


# -- who makes what --------------------------------------------------------------------------------------------------------


def test_a_process_makes_as_many_images_as_it_may() -> None:
    with Watched(images_per_process=3) as makers:
        seen_after = []
        for _ in range(7):
            makers.small()
            seen_after.append([one.pid for one in makers.processes()])
    first, second, last = seen_after[0], seen_after[3], seen_after[6]
    assert seen_after == [first, first, [], second, second, [], last]
    assert len({*first, *second, *last}) == 3


def test_each_image_can_have_a_process_of_its_own() -> None:
    with Watched(images_per_process=1) as makers:
        for _ in range(3):
            makers.small()
            assert makers.processes() == []


def test_a_function_shares_no_process(makers: VariantWorkers) -> None:
    recipe = Custom("remember", "tests.variants.attacks:remember", version=1, format="png")
    for _ in range(3):
        make_variant(SOURCE, SMALL, workers=makers)
        assert seen(make_variant(SOURCE, recipe, workers=makers)).tobytes() == b"1"


@pytest.mark.parametrize("source", [b"text", SOURCE[:-40], png_of_zeros(50_000, 50_000, rows=2)])
def test_an_image_that_is_refused_ends_its_process(watched: Watched, expected: bytes, source: bytes) -> None:
    watched.small()
    (before,) = watched.processes()
    with pytest.raises(VariantError):
        watched.small(source)
    assert watched.processes() == []
    assert watched.small() == expected
    assert watched.processes() != [before]


def test_other_limits_are_those_of_another_process(watched: Watched) -> None:
    watched.small()
    (before,) = watched.processes()
    for change in ({"seconds": 5.0}, {"memory": 256 << 20}):
        watched.limits = watched.limits._replace(**change)  # type: ignore[arg-type]
        watched.small()
        (after,) = watched.processes()
        assert after.pid != before.pid
        before = after


def test_processes_end_with_their_workers(watched: Watched) -> None:
    watched.small()
    (process,) = watched.processes()
    watched.close()
    process.wait(5)


def test_a_process_that_would_go_on_is_ended() -> None:
    with Watched(images_per_process=3) as makers:
        makers.attack("haunt", deed="stays")
        makers.small()
        assert len(makers.processes()) == 1
        makers.small()
        assert makers.processes() == []


ENDLESS = """
from filerow.variants import Custom, VariantWorkers, make_variant
with VariantWorkers(workers=1, seconds=60) as makers:
    make_variant(%r, Custom("a", "tests.variants.attacks:sleep", version=1), workers=makers)
"""


def test_a_process_ends_with_a_killed_application_while_it_works() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", ENDLESS % SOURCE], env=environment) as application:
        deadline = time.monotonic() + 60
        below: list[psutil.Process] = []
        while len(below) < 2 and time.monotonic() < deadline:
            time.sleep(0.2)
            below = psutil.Process(application.pid).children(recursive=True)
        time.sleep(0.5)
        application.kill()
    assert len(below) == 2
    assert psutil.wait_procs(below, timeout=20)[1] == []


@pytest.mark.thorough
def test_a_process_without_work_ends() -> None:
    with Watched() as makers:
        makers.small()
        (process,) = makers.processes()
        process.wait(20)
        assert makers.small()


def test_a_process_that_has_grown_makes_no_other_image(watched: Watched, expected: bytes) -> None:
    watched.attack("haunt", deed="keeps_memory")
    deadline = time.monotonic() + 5
    while watched.processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watched.processes() == []
    assert watched.small() == expected


# -- what one does to the next ---------------------------------------------------------------------------------------------

QUICK = ["crashes", "refuses", "lies", "dies_soon", "keeps_descriptors"]
SLOW = ["leaves", "hangs", "fills", "says_done", "closes_all", "speaks_unasked", "never_reads", "blocks_signals", "answers_twice"]


@pytest.mark.parametrize("deed", [*QUICK, *(pytest.param(deed, marks=pytest.mark.thorough) for deed in SLOW)])
def test_a_process_that_was_taken_over_spoils_no_other_image(expected: bytes, deed: str) -> None:
    with Watched(seconds=1) as makers:
        makers.attack("haunt", deed=deed)
        if deed in {"dies_soon", "speaks_unasked"}:
            time.sleep(0.3)
        for _ in range(8):
            assert makers.small() == expected


def test_a_forger_has_no_more_than_the_images_of_its_process(expected: bytes) -> None:
    with Watched(images_per_process=3) as makers:
        makers.attack("haunt", deed="forges")
        assert [makers.small() for _ in range(4)] == [attacks.saved_in("black")] * 2 + [expected] * 2


def test_a_killed_process_is_replaced_between_images(watched: Watched, expected: bytes) -> None:
    for _ in range(5):
        assert watched.small() == expected
        (process,) = watched.processes()
        process.kill()


def test_a_stopped_process_delays_an_image_and_no_more(expected: bytes) -> None:
    with Watched(seconds=0.3) as makers:
        makers.small()
        (process,) = makers.processes()
        process.send_signal(signal.SIGSTOP)
        assert makers.small() == expected
        process.wait(5)


def test_processor_time_is_that_of_one_image() -> None:
    with Watched(seconds=40) as makers:
        makers.attack("burn", seconds=0)
        (process,) = makers.processes()
        found = []
        for _ in range(3):
            makers.attack("burn", seconds=0.2)
            soft, hard = process.rlimit(psutil.RLIMIT_CPU)  # type: ignore[attr-defined, unused-ignore]  # of Linux
            found.append((0 < soft - sum(process.cpu_times()[:2]) <= 11, hard))
        assert makers.processes() == [process]
        assert found == [(True, 801)] * 3  # a quarter of the seconds, rounded up, within those of 20 images


def test_an_image_that_takes_too_long_is_given_up_where_others_were_made() -> None:
    with Watched(seconds=1) as makers:
        makers.attack("burn", seconds=0)
        with pytest.raises(VariantTimeoutError):
            makers.attack("spin")


def test_an_image_that_takes_a_part_of_its_time_is_made() -> None:
    with Watched(seconds=2) as makers:
        makers.attack("pause", seconds=0)
        (before,) = makers.processes()
        assert makers.attack("pause", seconds=2.5).width == 80  # 6 seconds by the clock, and a quarter where others were made
        assert makers.processes() != [before]


def test_memory_of_one_image_is_not_seen_by_the_next(watched: Watched) -> None:
    watched.attack("leave_secret")
    (process,) = watched.processes()
    assert seen(watched.attack("look_for_secret")).tobytes() == b"found"
    assert watched.processes() == [process]


def test_images_are_the_same_whatever_was_made_before() -> None:
    pictures = [
        saved(four_colours(640, 360), "JPEG", quality=90),
        saved(four_colours(300, 500, "CMYK"), "JPEG", progressive=True),
        saved(four_colours(200, 120, "RGBA"), "PNG"),
        saved(four_colours(200, 120, "P"), "GIF"),
        animation(4, (90, 60)),
        animation(3, (90, 60), "WEBP"),
        saved(four_colours(333, 222), "WEBP", lossless=True),
        saved(four_colours(333, 222, "L"), "TIFF", compression="tiff_lzw"),
        saved(four_colours(128, 128), "AVIF"),
    ]
    recipes = [
        Thumbnail(50, 50), Thumbnail(40, 60, crop="attention", format="jpeg"), Resize(width=64, format="png"),
        Resize(width=48, format="gif"), Resize(width=48, format="avif"),
    ]  # fmt: skip
    jobs = [(source, recipe) for source in pictures for recipe in recipes]
    with VariantWorkers(workers=1, images_per_process=1) as apart, VariantWorkers(workers=1, images_per_process=100) as shared:
        alone = [make_variant(*job, workers=apart).content for job in jobs]
        for seed in (1, 2):
            order = list(range(len(jobs)))
            random.Random(seed).shuffle(order)
            for place in order:
                assert make_variant(*jobs[place], workers=shared).content == alone[place], jobs[place][1]
