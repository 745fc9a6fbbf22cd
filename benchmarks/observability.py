"""``python -m benchmarks.observability``: what events and traces cost where rows are inserted, as ratios to their absence."""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
from collections.abc import Callable

import sqlalchemy
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import filerow
from benchmarks._harness import Work, seconds
from benchmarks._world import Ours, World, some_bytes, temporary
from filerow import FileObject, hooks
from filerow.ext import opentelemetry

SMALL = some_bytes(10 * 1024)
ABSENT = "absent"


def _listen(event: hooks.Event) -> None:
    pass


class Exported:
    """An SDK whose exporter keeps spans and metrics in memory."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._tracers = TracerProvider()
        self._tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self._meters = MeterProvider([InMemoryMetricReader()])

    def install(self) -> None:
        """Observe with it."""
        self._spans.clear()
        opentelemetry.install(tracer_provider=self._tracers, meter_provider=self._meters)


def _ways() -> dict[str, tuple[Work, Work]]:
    """Return how each way is begun and ended."""
    nothing: Work = lambda: None  # noqa: E731 - one of a table
    return {
        ABSENT: (nothing, nothing),
        "OpenTelemetry, API only": (opentelemetry.install, opentelemetry.uninstall),
        "OpenTelemetry, exporter in memory": (Exported().install, opentelemetry.uninstall),
        "a subscriber to all events": (lambda: hooks.subscribe(_listen), lambda: hooks.unsubscribe(_listen)),
    }


def measure(works: dict[str, Work], rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    """Time all ways in turn, round by round, and return seconds and ratios of each.

    Each round begins with another way, and a ratio compares neighbours: the machine's mood changes.
    """
    ways, names = _ways(), list(_ways())
    found: dict[str, tuple[list[float], list[float]]] = {f"{kind}: {name}": ([], []) for kind in works for name in names}
    for kind, work in works.items():
        work()
        for number in range(rounds):
            taken: dict[str, float] = {}
            for name in (*names[number % len(names) :], *names[: number % len(names)]):
                begin, end = ways[name]
                begin()
                taken[name] = seconds(work)
                end()
            for name, one in taken.items():
                times, ratios = found[f"{kind}: {name}"]
                times.append(one)
                ratios.append(one / taken[ABSENT])
    return found


def _works(world: World, count: int) -> dict[str, Work]:
    def insert() -> None:
        with world.session() as session:
            for _ in range(count):
                session.add(Ours(file=FileObject(filename="a.bin", content=SMALL)))
                session.commit()

    async def insert_async() -> None:
        async with world.async_session() as session:
            for _ in range(count):
                session.add(Ours(file=FileObject(filename="a.bin", content=SMALL)))
                await session.commit()

    return {"sync": insert, "async": world.awaited(insert_async)}


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observability")
    parser.add_argument("--count", type=int, default=200, help="rows of one measurement, one commit each")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    middle: Callable[[list[float]], float] = statistics.median
    with temporary() as folder:
        world = World("local", folder)
        found = measure(_works(world, arguments.count), arguments.rounds)
        world.close()
    print(f"Filerow {filerow.__version__}, SQLAlchemy {sqlalchemy.__version__}, Python {platform.python_version()}\n")
    print(f"| insert {arguments.count} x 10 KB, one commit each | median | ratio |\n|---|--:|--:|")
    for name, (times, ratios) in found.items():
        print(f"| {name} | {middle(times) * 1e3:.1f} ms | {middle(ratios):.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
