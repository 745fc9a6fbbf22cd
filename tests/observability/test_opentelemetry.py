"""Spans and metrics of the operations of stores, as the real SDK collects them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import Engine, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Session

from filerow import storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import FileTooLargeError, ObjectNotFoundError, StorageError
from filerow.ext import opentelemetry
from filerow.testing.faults import Fault, FaultyBackend
from tests.observability.models import Document, Kept, a_file, outbox


class Seen:
    """What the SDK has collected."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("tests")

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def take(self) -> list[tuple[str, str]]:
        """Return name and outcome of the spans, and forget them."""
        found = [(span.name, str(attributes_of(span).get("filerow.outcome"))) for span in self.spans]
        self.exporter.clear()
        return found

    def points(self, name: str) -> list[Any]:
        data = self.reader.get_metrics_data()
        metrics = [] if data is None else [m for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics]
        return [point for metric in metrics if metric.name == name for point in metric.data.data_points]


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    opentelemetry.install(tracer_provider=made.tracers, meter_provider=made.meters)
    yield made
    opentelemetry.uninstall()
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def local(tmp_path: Path) -> LocalBackend:
    made = LocalBackend("folder", tmp_path / "root", fsync=False)
    storages.register_backend(made)
    return made


def test_operations_become_spans_without_paths(seen: Seen, local: LocalBackend) -> None:
    local.put("a/secret.txt", b"12345")
    local.put("b", iter([b"12", b"3"]))
    assert local.read("a/secret.txt", 1, 4) == b"234"
    assert b"".join(local.stream("a/secret.txt", chunk_size=2)) == b"12345"
    local.copy("b", "c")
    local.head("c")
    assert len(list(local.list())) == 3
    local.delete(["b", "c"])
    sizes = [(span.name, attributes_of(span).get("filerow.io.size")) for span in seen.spans]
    assert sizes[:4] == [("put folder", 5), ("put folder", 3), ("read folder", 3), ("read folder", 5)]
    assert [span.name for span in seen.spans[4:]] == ["copy folder", "head folder", "list folder", "delete folder"]
    assert attributes_of(seen.spans[0]) == {
        "filerow.operation": "put",
        "filerow.backend.key": "folder",
        "filerow.backend.kind": "file",
        "filerow.outcome": "success",
        "filerow.io.size": 5,
    }
    assert attributes_of(seen.spans[-1])["filerow.objects"] == 2
    assert all(span.kind is SpanKind.INTERNAL and span.status.status_code is StatusCode.UNSET for span in seen.spans)
    assert not any("secret" in span.to_json() for span in seen.spans)


async def test_async_operations_become_the_same_spans(seen: Seen, local: LocalBackend) -> None:
    async def chunks() -> Any:
        yield b"12"
        yield b"3"

    await local.put_async("a", b"12345")
    await local.put_async("b", chunks())
    await local.read_async("a", 1, 4)
    assert [chunk async for chunk in local.stream_async("a")] == [b"12345"]
    await local.delete_async(["a", "b"])
    sizes = [(span.name, attributes_of(span).get("filerow.io.size")) for span in seen.spans]
    assert sizes == [("put folder", 5), ("put folder", 3), ("read folder", 3), ("read folder", 5), ("delete folder", None)]


def growing() -> Iterator[bytes]:
    yield b"1"
    raise FileTooLargeError("too large")


def test_outcomes_tell_failures_from_answers(seen: Seen, docs: FaultyBackend, local: LocalBackend) -> None:
    assert not local.exists("a")
    local.put("a", b"123")
    with pytest.raises(StorageError):
        local.put("a", b"1")
    next(chunks := iter(local.stream("a", chunk_size=1)))
    chunks.close()  # type: ignore[attr-defined]
    assert seen.take() == [
        ("head folder", "missing"),
        ("put folder", "success"),
        ("put folder", "exists"),
        ("read folder", "stopped"),
    ]
    docs.add(Fault("delete", error=ConnectionResetError, paths=lambda path: path == "x"))
    assert set(docs.delete(["x", "y"])) == {"x"}
    failed = seen.spans[-1]
    assert attributes_of(failed)["filerow.outcome"] == "failure"
    assert (attributes_of(failed)["filerow.objects"], attributes_of(failed)["filerow.objects.failed"]) == (2, 1)
    docs.add(Fault("put", error=ConnectionResetError))
    with pytest.raises(StorageError):
        docs.put("secret", b"1")
    failed = seen.spans[-1]
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes_of(failed)["error.type"] == failed.status.description
    assert "secret" not in failed.to_json()
    with pytest.raises(FileTooLargeError):
        local.put("b", growing())
    assert seen.take()[-1] == ("put folder", "refused")


async def test_a_cancelled_operation_says_so(seen: Seen, docs: FaultyBackend) -> None:
    docs.add(Fault("head", hang=True))
    task = asyncio.ensure_future(docs.head_async("a"))
    while not docs.log:
        await asyncio.sleep(0)
    task.cancel()
    docs.release()
    with contextlib.suppress(asyncio.CancelledError, ObjectNotFoundError):
        await task
    assert ("head docs", "cancelled") in seen.take()


def test_paths_are_an_option(seen: Seen, docs: FaultyBackend) -> None:
    opentelemetry.install(tracer_provider=seen.tracers, meter_provider=seen.meters, paths=True)
    docs.add(Fault("put", error=ConnectionResetError))
    with pytest.raises(StorageError):
        docs.put("a.txt", b"1")
    span = seen.spans[-1]
    assert attributes_of(span)["filerow.path"] == "a.txt"
    assert [event.name for event in span.events] == ["exception"]
    assert len([one for one in seen.spans if one.name == "put docs"]) == len(seen.spans)


def parents_of(seen: Seen, root: ReadableSpan) -> set[int | None]:
    return {span.parent.span_id if span.parent else None for span in seen.spans if span is not root}


def test_spans_of_a_session_s_threads_are_children(seen: Seen, engine: Engine, tmp_path: Path) -> None:
    threads = set()

    class Slow(LocalBackend):
        _quick = False

        def _put(self, *given: Any) -> Any:
            threads.add(threading.get_ident())
            return super()._put(*given)

    storages.clear_backends()
    storages.register_backend(Slow("docs", tmp_path / "docs", fsync=False))
    with Session(engine) as session:
        with seen.tracer.start_as_current_span("request") as root:
            session.add(Document(pages=[a_file(str(number)) for number in range(8)]))
            session.commit()
        assert threading.get_ident() not in threads
    assert len(seen.spans) == 9
    assert parents_of(seen, seen.spans[-1]) == {root.get_span_context().span_id}


async def test_spans_of_an_async_session_are_children(seen: Seen, async_engine: AsyncEngine) -> None:
    storages.clear_backends()
    storages.register_backend(MemoryBackend("docs"))

    async def request(name: str) -> int:
        with seen.tracer.start_as_current_span(name) as root:
            async with AsyncSession(async_engine) as session:
                session.add(Document(title=name, file=a_file(name), pages=[a_file("1"), a_file("2")]))
                await session.commit()
            assert trace.get_current_span() is root
            return root.get_span_context().span_id

    roots = await asyncio.gather(request("one"), request("two"))
    puts = [span.parent.span_id for span in seen.spans if span.name == "put docs" and span.parent]
    assert sorted(puts) == sorted([*roots] * 3)


async def test_a_stream_leaves_the_reader_s_context_alone(seen: Seen, docs: FaultyBackend, local: LocalBackend) -> None:
    local.put("a", b"123456")
    with seen.tracer.start_as_current_span("request") as root:
        async with aclosing(local.stream_async("a", chunk_size=2)) as chunks:  # type: ignore[type-var]
            async for _ in chunks:
                assert trace.get_current_span() is root
    stream = next(span for span in seen.spans if span.name == "read folder")
    assert stream.parent is not None
    assert stream.parent.span_id == root.get_span_context().span_id


def test_metrics_count_operations_bytes_and_seconds(seen: Seen, local: LocalBackend) -> None:
    local.put("a", b"12345")
    local.put("b", b"123")
    local.read("a")
    local.exists("missing")
    durations = {
        (point.attributes["filerow.operation"], point.attributes["filerow.outcome"]): point
        for point in seen.points("filerow.storage.operation.duration")
    }
    assert {key: point.count for key, point in durations.items()} == {
        ("put", "success"): 2,
        ("read", "success"): 1,
        ("head", "missing"): 1,
    }
    assert 0 < durations["put", "success"].sum < 60
    assert durations["put", "success"].explicit_bounds[0] < 0.01
    moved = {point.attributes["filerow.io.direction"]: point.value for point in seen.points("filerow.storage.io")}
    assert moved == {"write": 8, "read": 5}
    keys = {key for point in seen.points("filerow.storage.io") for key in point.attributes}
    assert keys == {"filerow.backend.key", "filerow.backend.kind", "filerow.io.direction"}


def test_nothing_is_observed_after_uninstall(seen: Seen, docs: FaultyBackend) -> None:
    opentelemetry.uninstall()
    docs.put("a", b"1")
    assert seen.spans == []
    assert seen.points("filerow.storage.io") == []


# -- the outbox ------------------------------------------------------------------------------------------------------------


def objects_in(seen: Seen) -> dict[str, int]:
    points = seen.points("filerow.outbox.objects")
    assert all(point.attributes["filerow.outbox.table"] == "filerow_outbox" for point in points)
    return {point.attributes["filerow.outbox.state"]: point.value for point in points}


@pytest.fixture
def waiting(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """An outbox with one object, an hour old."""
    monkeypatch.setattr(opentelemetry, "_AT_ONCE", 0.0)
    with Session(engine) as session:
        session.add(row := Kept(file=a_file("a.txt")))
        session.commit()
        session.delete(row)
        session.commit()
        session.execute(update(outbox.table).values(dropped_at=outbox.table.c.dropped_at - timedelta(hours=1).total_seconds()))
        session.commit()


def test_an_outbox_is_measured(seen: Seen, engine: Engine, waiting: None, docs: FaultyBackend) -> None:
    opentelemetry.observe_outbox(outbox, engine, meter_provider=seen.meters)
    assert objects_in(seen) == {"due": 1, "waiting": 0, "dead": 0}
    [age] = seen.points("filerow.outbox.age")
    assert 3600 <= age.value < 3700
    with docs.inject(Fault("delete", error=ConnectionResetError)):
        for _ in range(outbox.max_attempts):
            outbox.drain(engine)
    assert objects_in(seen) == {"due": 0, "waiting": 0, "dead": 1}
    assert [point.value for point in seen.points("filerow.outbox.age")] == [0.0]


async def test_an_outbox_of_an_async_engine_is_measured(seen: Seen, async_engine: AsyncEngine, waiting: None) -> None:
    opentelemetry.observe_outbox(outbox, async_engine, meter_provider=seen.meters)
    assert await asyncio.to_thread(objects_in, seen) == {"due": 1, "waiting": 0, "dead": 0}
    assert objects_in(seen) == {"due": 1, "waiting": 0, "dead": 0}  # in the loop, which cannot wait for itself


def test_an_async_engine_needs_its_loop(async_engine: AsyncEngine) -> None:
    with pytest.raises(RuntimeError, match="inside the event loop that uses the engine"):
        opentelemetry.observe_outbox(outbox, async_engine)


def test_an_unreachable_database_spoils_no_other_metric(
    seen: Seen, engine: Engine, waiting: None, docs: FaultyBackend, caplog: pytest.LogCaptureFixture
) -> None:
    opentelemetry.observe_outbox(outbox, engine, meter_provider=seen.meters)
    docs.put("a", b"1")
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE filerow_outbox RENAME TO away")
    assert objects_in(seen) == {}
    assert seen.points("filerow.storage.io")
    assert "could not be counted" in caplog.text
