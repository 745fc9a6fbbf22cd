"""Workers: limits, death and replacement, the queue, one making at a time, forks, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import (
    FileStateError,
    ObjectNotFoundError,
    RecipeError,
    UndecodableError,
    VariantBusyError,
    VariantError,
    VariantTimeoutError,
    VariantTooLargeError,
    WorkerError,
)
from filerow.variants import Custom, Recipe, Resize, Thumbnail, VariantWorkers, configure, make_variant, make_variant_async
from tests.variants.pictures import four_colours, gif_of_frames, png_of_zeros, saved, tiff_of_strips

SOURCE = saved(four_colours())
SMALL = Thumbnail(8, 8)


def custom(name: str, **options: Any) -> Custom:
    return Custom(name, f"tests.variants.attacks:{name}", version=1, **options)


def workers_here() -> list[psutil.Process]:
    children = [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]
    return [one for one in children if "filerow.variants._worker" in " ".join(one.cmdline())]


# -- limits ----------------------------------------------------------------------------------------------------------------


BOMBS: dict[str, tuple[Callable[[], bytes], type[VariantError], str]] = {
    "png": (lambda: png_of_zeros(50_000, 50_000, rows=2), VariantTooLargeError, "too-many-pixels"),
    "gif_screen": (lambda: gif_of_frames(1, 60_000, 60_000), VariantTooLargeError, "too-many-pixels"),
    "gif_frames": (lambda: gif_of_frames(100_000, 20, 20), VariantTooLargeError, "too-many-frames"),
    "gif_huge_frames": (lambda: gif_of_frames(200, 5000, 5000), VariantTooLargeError, "too-many-frames"),
    "tiff_high": (lambda: tiff_of_strips(1_000_000, 100_000_000), VariantTooLargeError, "too-many-pixels"),
}
QUICK = {"png", "gif_screen", "gif_frames"}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (name not in QUICK)) for name in BOMBS])
def test_bombs_are_refused(makers: VariantWorkers, name: str) -> None:
    bomb, kind, code = BOMBS[name]
    content = bomb()
    before = time.monotonic()
    with pytest.raises(kind) as refused:
        make_variant(content, SMALL, workers=makers)
    assert refused.value.code == code
    assert time.monotonic() - before < 60
    assert make_variant(SOURCE, SMALL, workers=makers).width == 8


@pytest.mark.thorough
def test_a_million_strips_take_no_more_than_an_image_may(makers: VariantWorkers) -> None:
    content = tiff_of_strips(1_000_000, 1_000_000)
    before = time.monotonic()
    with contextlib.suppress(VariantTimeoutError):  # a fast machine makes it
        assert make_variant(content, SMALL, workers=makers).height <= 8
    assert time.monotonic() - before < 60
    assert make_variant(SOURCE, SMALL, workers=makers).width == 8


def test_memory_is_limited() -> None:
    with VariantWorkers(workers=1, memory="34 MB") as makers:
        with pytest.raises(VariantTooLargeError, match="more memory to decode") as refused:
            make_variant(png_of_zeros(3500, 3500), SMALL, workers=makers)
        assert refused.value.code == "memory"
        with pytest.raises(VariantTooLargeError):
            make_variant(SOURCE, custom("grow"), workers=makers)
        assert len(workers_here()) >= 1
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8


BUFFERED: list[tuple[str, str, dict[str, Any]]] = [
    ("RGB", "webp", {"lossless": True}),
    ("RGB", "webp", {"quality": 1, "method": 0}),
    ("RGBA", "webp", {"quality": 1, "method": 0}),
    ("RGB", "jpeg", {"progressive": True, "subsampling": 0}),
]


@pytest.mark.parametrize(("mode", "kind", "options"), BUFFERED)
def test_decoder_s_own_lack_of_memory_is_not_a_broken_image(mode: str, kind: str, options: dict[str, Any]) -> None:
    """Decoders that buffer the whole image say only that they failed."""
    source = saved(Image.new(mode, (3000, 3000)), kind, **options)
    with VariantWorkers(workers=1, memory="34 MB") as makers:
        with pytest.raises(VariantTooLargeError) as refused:
            make_variant(source, Resize(width=300), workers=makers)
        assert refused.value.code == "memory"
        cut = saved(four_colours(), kind, **options)[:60]
        with pytest.raises(UndecodableError):
            make_variant(cut, Resize(width=300), workers=makers)


HELD: dict[str, tuple[str, str, dict[str, Any]]] = {
    "jpeg": ("RGB", "JPEG", {}),
    "progressive": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "progressive_grey": ("L", "JPEG", {"progressive": True}),
    "progressive_cmyk": ("CMYK", "JPEG", {"progressive": True}),
    "png": ("RGBA", "PNG", {}),
    "png_16": ("I;16", "PNG", {}),
    "png_palette": ("P", "PNG", {}),
    "gif": ("L", "GIF", {}),
    "webp": ("RGB", "WEBP", {"method": 0}),
    "webp_lossless": ("RGBA", "WEBP", {"lossless": True, "method": 0}),
    "avif": ("RGB", "AVIF", {"speed": 10}),
    "avif_alpha": ("RGBA", "AVIF", {"speed": 10}),
    "tiff": ("RGB", "TIFF", {}),
    "tiff_lzw": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "tiff_deflate": ("CMYK", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "tiff_jpeg": ("RGB", "TIFF", {"compression": "jpeg"}),
}


@pytest.mark.parametrize("width", [300, 2900])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] * (name not in {"progressive_cmyk", "avif"})) for name in HELD]
)
def test_with_little_memory_an_image_is_made_or_lacks_memory(name: str, width: int) -> None:
    """With no limit it is called broken, which it is not."""
    mode, kind, options = HELD[name]
    source = saved(Image.new(mode, (3000, 3000)), kind, **options)
    found = with_more_and_more_memory(source, Resize(width=width, format="jpeg"))
    assert found[-1] == "made"
    assert set(found[:-1]) <= {"memory"}, found


def with_more_and_more_memory(source: bytes, recipe: Recipe) -> list[str]:
    """Return what becomes of an image within each limit, until it is made."""
    found: list[str] = []
    with VariantWorkers(workers=1, seconds=60) as makers:
        for step in range(40):
            makers.limits = makers.limits._replace(memory=int((34 << 20) * 1.07**step))
            try:
                make_variant(source, recipe, workers=makers)
            except VariantError as error:
                found.append(error.code)
            else:
                return [*found, "made"]
    return found


@pytest.mark.thorough
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("kind", ["avif", "gif", "jpeg", "png", "tiff", "webp"])
def test_with_little_memory_a_variant_is_encoded_or_lacks_memory(kind: Any, mode: str) -> None:
    source = saved(Image.new(mode, (3000, 3000)))
    found = with_more_and_more_memory(source, Resize(width=3000, format=kind))
    assert found[-1] == "made"
    assert set(found[:-1]) <= {"memory"}, found


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_a_large_image_that_is_cut_is_called_broken(kind: str, makers: VariantWorkers) -> None:
    whole = saved(Image.effect_noise((2000, 2000), 90), kind, **({"progressive": True} if kind == "JPEG" else {"method": 0}))
    with pytest.raises(UndecodableError) as refused:
        make_variant(whole[: len(whole) // 2], SMALL, workers=makers)
    assert refused.value.code == "broken"


@pytest.mark.parametrize("name", [pytest.param("spin", marks=pytest.mark.thorough), "sleep"])
def test_time_is_limited(name: str) -> None:
    with VariantWorkers(workers=1, seconds=1 if name == "spin" else 0.3) as makers:
        make_variant(SOURCE, SMALL, workers=makers)
        before = time.monotonic()
        with pytest.raises(VariantTimeoutError, match="took too long") as refused:
            make_variant(SOURCE, custom(name), workers=makers)
        assert isinstance(refused.value, TimeoutError)
        assert time.monotonic() - before < 20
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8


def test_large_pending_content_is_not_read() -> None:
    class Untouched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError("it was read")

    for source in (FileObject("nowhere", content=Untouched(SOURCE)), memoryview(bytes(2000))):
        with VariantWorkers(max_source=100) as small, pytest.raises(VariantTooLargeError, match="allows 100"):
            make_variant(source, SMALL, workers=small)


def test_large_originals_are_not_read() -> None:
    before = {one.pid for one in workers_here()}
    with VariantWorkers(workers=1, max_source=100) as small:
        with pytest.raises(VariantTooLargeError, match=r"has \d+ bytes, and configure\(max_source=...\) allows 100"):
            make_variant(SOURCE, SMALL, workers=small)
        assert {one.pid for one in workers_here()} == before


def test_limits_must_make_sense() -> None:
    wrong: list[dict[str, Any]] = [
        {"workers": 0},
        {"seconds": -1},
        {"memory": "1 MB"},
        {"max_pixels": 0},
        {"queue_seconds": True},
        {"queue_seconds": float("inf")},
        {"seconds": float("inf")},
        {"seconds": float("nan")},
        {"workers": 1.5},
        {"max_pixels": 1e6},
        {"max_frames": 0.5},
        {"memory": 1 << 70},
        {"max_source": None},
        {"max_output": 0},
        {"images_per_process": 0},
        {"images_per_process": 2.5},
        {"images_per_process": 1001},
        {"images_per_process": True},
    ]
    for options in wrong:
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            VariantWorkers(**options)


# -- functions of the application ------------------------------------------------------------------------------------------


def test_errors_of_a_function_are_named(makers: VariantWorkers) -> None:
    with pytest.raises(RecipeError, match=r"attacks:fail of a variant raised KeyError: 'of\\nthe application'"):
        make_variant(SOURCE, custom("fail"), workers=makers)
    with pytest.raises(RecipeError, match="attacks:nothing of a variant returned NoneType, not an image"):
        make_variant(SOURCE, custom("nothing"), workers=makers)
    with pytest.raises(RecipeError, match=r"cannot be imported: ModuleNotFoundError: No module named 'nowhere'"):
        make_variant(SOURCE, Custom("a", "nowhere:at_all", version=1), workers=makers)
    with pytest.raises(RecipeError, match="attacks:end of a variant raised SystemExit: 3"):
        make_variant(SOURCE, custom("end"), workers=makers)


def test_a_module_that_exits_is_named(makers: VariantWorkers) -> None:
    with pytest.raises(RecipeError, match=r"cannot be imported: SystemExit: 3"):
        make_variant(SOURCE, Custom("a", "tests.variants.exits:at_all", version=1), workers=makers)
    assert make_variant(SOURCE, SMALL, workers=makers).width == 8


# -- death and replacement -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["crash", pytest.param("leave", marks=pytest.mark.thorough)])
def test_a_crash_is_an_error_of_its_image(makers: VariantWorkers, name: str) -> None:
    with pytest.raises(UndecodableError, match="broken or hostile") as refused:
        make_variant(SOURCE, custom(name), workers=makers)
    assert refused.value.code == "crashed"
    assert make_variant(SOURCE, SMALL, workers=makers).width == 8


def test_a_killed_worker_is_replaced() -> None:
    before = {one.pid for one in workers_here()}
    with VariantWorkers(workers=1) as makers:
        make_variant(SOURCE, SMALL, workers=makers)
        [worker] = [one for one in workers_here() if one.pid not in before]
        worker.send_signal(signal.SIGKILL)
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8
        [other] = [one for one in workers_here() if one.pid not in before and one.pid != worker.pid and one.is_running()]
    assert not psutil.pid_exists(other.pid)


def test_workers_end_with_their_owner() -> None:
    before = {one.pid for one in workers_here()}
    makers = VariantWorkers(workers=1)
    make_variant(SOURCE, SMALL, workers=makers)
    [worker] = [one for one in workers_here() if one.pid not in before]
    del makers
    gc.collect()
    assert not psutil.pid_exists(worker.pid)


@pytest.mark.thorough
def test_workers_start_again_after_close() -> None:
    with VariantWorkers(workers=1) as makers:
        make_variant(SOURCE, SMALL, workers=makers)
        makers.close()
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8


def test_an_interpreter_that_is_missing_is_named() -> None:
    with (
        VariantWorkers(executable="/nowhere/python") as makers,
        pytest.raises(WorkerError, match=r"could not start: .*/nowhere/python"),
    ):
        make_variant(SOURCE, SMALL, workers=makers)
    with VariantWorkers(executable="") as makers, pytest.raises(WorkerError, match=r"configure\(executable=...\)"):
        make_variant(SOURCE, SMALL, workers=makers)
    with VariantWorkers(executable="/bin/false") as makers, pytest.raises(WorkerError, match="could not start: EOFError"):
        make_variant(SOURCE, SMALL, workers=makers)


# -- the queue -------------------------------------------------------------------------------------------------------------


def test_whoever_waits_too_long_is_told_that_all_are_busy() -> None:
    with VariantWorkers(workers=1, queue_seconds=0.2, seconds=1) as makers:
        make_variant(SOURCE, SMALL, workers=makers)
        sleeper = threading.Thread(target=lambda: _quietly(makers))
        sleeper.start()
        time.sleep(0.3)
        with pytest.raises(VariantBusyError, match=r"all 1 workers for variants were busy for 0.2 seconds") as busy:
            make_variant(SOURCE, SMALL, workers=makers)
        with pytest.raises(VariantBusyError):
            asyncio.run(make_variant_async(SOURCE, SMALL, workers=makers))
        sleeper.join()
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8
    assert busy.value.status_code == 503


def _quietly(makers: VariantWorkers) -> None:
    with pytest.raises(VariantTimeoutError):
        make_variant(SOURCE, custom("sleep"), workers=makers)


@pytest.mark.thorough
def test_a_closed_queue_lets_nobody_wait() -> None:
    with VariantWorkers(workers=1, seconds=5) as makers, ThreadPoolExecutor(2) as threads:
        make_variant(SOURCE, SMALL, workers=makers)
        first = threads.submit(make_variant, SOURCE, custom("sleep"), workers=makers)
        time.sleep(0.2)
        second = threads.submit(make_variant, SOURCE, SMALL, workers=makers)
        time.sleep(0.1)
        makers.close()
        with pytest.raises(WorkerError, match="were closed"):
            second.result(10)
        with pytest.raises(WorkerError, match="were closed"):  # not that the file is broken: it need not be
            first.result(10)


@pytest.mark.thorough
def test_a_worker_that_starts_while_all_are_closed_ends() -> None:
    before = {one.pid for one in workers_here()}
    with VariantWorkers(workers=1) as makers, ThreadPoolExecutor(1) as threads:
        for delay in (0.0, 0.02, 0.1):
            first = threads.submit(make_variant, SOURCE, SMALL, workers=makers)
            time.sleep(delay)
            makers.close()
            with contextlib.suppress(WorkerError):
                assert first.result(20).width == 8
            makers.close()
            assert {one.pid for one in workers_here()} <= before


async def test_a_worker_whose_start_is_cancelled_ends() -> None:
    before = {one.pid for one in workers_here()}
    descriptors = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with VariantWorkers(workers=1) as makers:
        for delay in (0.0005, 0.002, 0.01):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await make_variant_async(SOURCE, SMALL, workers=makers)
            makers.close()
            assert {one.pid for one in workers_here()} <= before
    if descriptors:
        assert len(os.listdir("/proc/self/fd")) <= descriptors


async def test_a_cancelled_variant_frees_its_worker() -> None:
    with VariantWorkers(workers=1, seconds=20) as makers:
        await make_variant_async(SOURCE, SMALL, workers=makers)
        task = asyncio.ensure_future(make_variant_async(SOURCE, custom("sleep"), workers=makers))
        waiting = asyncio.ensure_future(make_variant_async(SOURCE, SMALL, workers=makers))
        await asyncio.sleep(0.2)
        waiting.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await make_variant_async(SOURCE, SMALL, workers=makers)).width == 8


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_closed_loop_gives_its_workers_back() -> None:
    with VariantWorkers(workers=1, seconds=20, queue_seconds=0.2) as makers:
        make_variant(SOURCE, SMALL, workers=makers)

        async def both() -> None:
            await asyncio.gather(*(make_variant_async(SOURCE, custom("sleep"), workers=makers) for _ in range(2)))

        loop = asyncio.new_event_loop()
        task = loop.create_task(both())
        loop.run_until_complete(asyncio.sleep(0.1))
        loop.close()
        del loop, task
        with contextlib.suppress(VariantBusyError):  # until its tasks are collected
            make_variant(SOURCE, SMALL, workers=makers)
        gc.collect()
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8


# -- sync and async --------------------------------------------------------------------------------------------------------


class CountingBackend(MemoryBackend):
    """Counts what is read of it, and takes its time."""

    def __init__(self) -> None:
        super().__init__("counted")
        self.reads: list[tuple[int, int | None]] = []
        self.began = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def _read_async(self, path: str, start: int, end: int | None) -> bytes:
        self.began.set()
        await self.gate.wait()
        return self._read(path, start, end)

    def _read(self, path: str, start: int, end: int | None) -> bytes:
        self.reads.append((start, end))
        time.sleep(0.05)
        return super()._read(path, start, end)


@pytest.fixture
def counted() -> Any:
    backend = CountingBackend()
    storages.register_backend(backend)
    yield backend
    storages.clear_backends()


async def test_64_requests_for_one_variant_make_it_once(makers: VariantWorkers, counted: CountingBackend) -> None:
    file = await FileObject("counted", content=SOURCE).save_async()
    made = await asyncio.gather(*(make_variant_async(file, SMALL, workers=makers) for _ in range(64)))
    assert len(counted.reads) == 1
    assert len({id(one) for one in made}) == 1


def test_64_threads_for_one_variant_make_it_once(makers: VariantWorkers, counted: CountingBackend) -> None:
    file = FileObject("counted", content=SOURCE).save()
    ready = threading.Barrier(64)

    def ask(_: int) -> bytes:
        ready.wait()
        return make_variant(file, SMALL, workers=makers).content

    with ThreadPoolExecutor(64) as threads:
        assert len(set(threads.map(ask, range(64)))) == 1
    assert len(counted.reads) <= 3  # whoever comes when it is made makes it again


@pytest.mark.parametrize("number", [16, pytest.param(64, marks=pytest.mark.thorough)])
async def test_requests_for_different_variants(makers: VariantWorkers, counted: CountingBackend, number: int) -> None:
    file = await FileObject("counted", content=SOURCE).save_async()
    made = await asyncio.gather(*(make_variant_async(file, Resize(width=1 + width), workers=makers) for width in range(number)))
    assert [one.width for one in made] == list(range(1, number + 1))
    assert counted.reads == [(0, len(SOURCE))] * number


async def test_the_next_one_makes_what_a_cancelled_one_began(makers: VariantWorkers, counted: CountingBackend) -> None:
    file = await FileObject("counted", content=SOURCE).save_async()
    counted.gate.clear()
    first = asyncio.ensure_future(make_variant_async(file, SMALL, workers=makers))
    await counted.began.wait()
    others = [asyncio.ensure_future(make_variant_async(file, SMALL, workers=makers)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    counted.gate.set()
    assert {(await other).width for other in others} == {8}
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_blocking_call_does_not_wait_for_its_own_loop(makers: VariantWorkers, counted: CountingBackend) -> None:
    file = await FileObject("counted", content=SOURCE).save_async()
    task = asyncio.ensure_future(make_variant_async(file, SMALL, workers=makers))
    await asyncio.sleep(0.01)
    assert make_variant(file, SMALL, workers=makers).width == 8
    assert (await task).width == 8


def test_a_missing_object_is_its_own_error_and_costs_no_worker(makers: VariantWorkers, counted: CountingBackend) -> None:
    make_variant(SOURCE, SMALL, workers=makers)
    running = {one.pid for one in workers_here()}
    file = FileObject("counted", content=SOURCE).save()
    counted.delete(file.path)
    with pytest.raises(ObjectNotFoundError):
        make_variant(file, SMALL, workers=makers)
    assert {one.pid for one in workers_here()} >= running
    with pytest.raises(FileStateError):
        make_variant(FileObject("counted"), SMALL, workers=makers)


def test_large_files_are_read_by_ranges(makers: VariantWorkers, counted: CountingBackend) -> None:
    content = saved(four_colours(), "TIFF")
    content += bytes((20 << 20) - len(content))
    file = FileObject("counted", content=content).save()
    assert make_variant(file, SMALL, workers=makers).width == 8
    assert counted.reads == [(0, 8 << 20)]


async def test_event_loop_runs_on(makers: VariantWorkers) -> None:
    await make_variant_async(SOURCE, SMALL, workers=makers)
    task = asyncio.ensure_future(make_variant_async(png_of_zeros(2000, 2000), SMALL, workers=makers))
    turns = 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    await task
    assert turns > 20


def test_inline_decodes_here_and_starts_nothing(counted: CountingBackend) -> None:
    before = {one.pid for one in workers_here()}
    file = FileObject("counted", content=SOURCE).save()
    with VariantWorkers(workers=1, inline=True) as makers:
        assert makers.protections() == frozenset()
        assert make_variant(file, SMALL, workers=makers).width == 8
        assert asyncio.run(make_variant_async(file, SMALL, workers=makers)).width == 8
        with pytest.raises(UndecodableError):
            make_variant(b"text", SMALL, workers=makers)
    assert {one.pid for one in workers_here()} == before


def test_windows_decodes_only_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with VariantWorkers(workers=1) as makers, pytest.raises(WorkerError, match=r"Windows .* configure\(inline=True\)"):
        make_variant(SOURCE, SMALL, workers=makers)
    with VariantWorkers(workers=1, inline=True) as makers:
        assert make_variant(SOURCE, SMALL, workers=makers).width == 8


def test_inline_output_is_limited() -> None:
    with VariantWorkers(inline=True, max_output=50) as makers, pytest.raises(VariantTooLargeError, match="more than 50 bytes"):
        make_variant(SOURCE, Thumbnail(80, 40), workers=makers)


@pytest.mark.thorough
def test_configure_replaces_the_workers_of_the_process() -> None:
    first = configure(workers=1, inline=True)
    assert make_variant(SOURCE, SMALL).width == 8
    with VariantWorkers() as usual:
        assert repr(configure()) == repr(usual)
    assert repr(first) == "<VariantWorkers 1 inline>"


# -- other processes -------------------------------------------------------------------------------------------------------

PROGRAM = """
import os, sys
import psutil
from filerow.variants import Thumbnail, configure, make_variant
source = open(sys.argv[1], "rb")
data = source.read()
source.close()
workers = configure(workers=1)
assert make_variant(data, Thumbnail(8, 8)).width == 8
[worker] = psutil.Process().children()
child = os.fork()
if not child:
    assert make_variant(data, Thumbnail(8, 8)).width == 8
    assert len(psutil.Process().children()) == 1
    workers.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert make_variant(data, Thumbnail(8, 8)).width == 8
assert psutil.Process().children() == [worker]
print("PIL.Image" in sys.modules, "PIL._imaging" in sys.modules)
"""


def test_a_forked_child_starts_its_own_workers(tmp_path: Path) -> None:
    """And the process that asks decodes nothing: Pillow's code is not even loaded."""
    image = tmp_path / "a.png"
    image.write_bytes(SOURCE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(image)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout, done.stderr) == ("False False\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="has no such signal")
def test_ignored_signals_of_a_parent_are_not_inherited() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # as some servers do, so that no child becomes a zombie
    try:
        with VariantWorkers(workers=1) as makers:
            assert make_variant(SOURCE, SMALL, workers=makers).width == 8
    finally:
        signal.signal(signal.SIGCHLD, before)


LIMITED = """
import ctypes, resource, sys
ctypes.CDLL(None).prctl(24, 24, 0, 0, 0)  # nobody who is started from here may raise a limit, root neither
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from filerow.variants import Thumbnail, VariantWorkers, make_variant
with VariantWorkers(workers=1, seconds=100) as makers:
    print(make_variant(open(sys.argv[1], "rb").read(), Thumbnail(8, 8), workers=makers))
    print(*sorted(makers.protections()))
"""


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="tries a limit of Linux")
def test_lower_limits_of_the_system_stay(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(SOURCE)
    done = subprocess.run([sys.executable, "-c", LIMITED, str(image)], capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    assert done.stdout.split("\n")[1:] == ["files memory network processes time", ""]


@pytest.mark.thorough
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can read what belongs to others")
def test_root_reads_modules_that_belong_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "theirs.py").write_text("def function(image):\n    return image\n")
    folder.chmod(0o700)
    os.chown(folder, 12345, 12345)
    monkeypatch.syspath_prepend(folder)
    with VariantWorkers(workers=1) as makers:
        assert make_variant(SOURCE, Custom("theirs", "theirs:function", version=1), workers=makers).width == 80


@pytest.mark.thorough
def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.write_bytes(SOURCE)
    program = PROGRAM.partition("[worker]")[0] + "print(os.getpid(), flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        [worker] = psutil.Process(parent.pid).children()
        parent.kill()
    worker.wait(20)
    assert not os.path.exists(f"/proc/{worker.pid}")
