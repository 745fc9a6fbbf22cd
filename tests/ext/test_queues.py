"""Task queues that send JSON: a reference arrives, a file itself is refused by name, and a task's row gets a copy."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import fakeredis
import pytest
import redis
from celery import Celery  # type: ignore[import-untyped]
from celery.contrib.testing.worker import start_worker  # type: ignore[import-untyped]
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from kombu.serialization import dumps, loads
from rq import Queue, SimpleWorker
from rq.serializers import JSONSerializer
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from taskiq import AsyncBroker, InMemoryBroker
from taskiq.api import run_receiver_task
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

from filerow import FileObject, storages
from filerow.exceptions import ExpiredTokenError, InvalidTokenError
from tests.ext.world import Document, World
from tests.servers.redis import RedisServer
from tests.tokens import said_by, sealed

Ask = Callable[..., None]
"""Sends a task with these arguments, and returns when a worker has done it, or raises what it raised."""

AUDIENCE = "archive"
SECRET = "Xv6wHcJq2-4mLrYf9sKd_0TzBnUe8aGi"


def archive(text: str, database: str) -> None:
    """Do a worker's task: give a row a file."""
    engine = create_engine(database, poolclass=NullPool)
    with Session(engine) as session:
        session.add(Document(name="archived", file=FileObject.from_reference(text, audience=AUDIENCE)))
        session.commit()
    engine.dispose()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Rows and files of one test, and a secret that the application and its workers share."""
    monkeypatch.setenv("FILEROW_SECRET", SECRET)
    made = World.make(tmp_path)
    yield made
    made.engine.dispose()
    storages.clear_backends()


@pytest.fixture(scope="module")
def celery_app() -> Iterator[Ask]:
    with asking_celery("memory://", "cache+memory://") as ask:
        yield ask


@contextlib.contextmanager
def asking_celery(broker: str, backend: str) -> Iterator[Ask]:
    app = Celery("queues", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
    if broker == "memory://":
        app.conf.broker_transport_options = {"polling_interval": 0.02}
    task, level = app.task(archive, name="archive"), logging.root.level
    with start_worker(app, perform_ping_check=False, pool="solo", shutdown_timeout=30):
        logging.root.setLevel(level)  # which the worker raises to its own, for all tests that follow
        yield lambda *arguments: task.delay(*arguments).get(timeout=30, interval=0.02)


@pytest.fixture
def dramatiq_broker() -> Iterator[Ask]:
    with asking_dramatiq(StubBroker(fail_fast_default=True)) as ask:
        yield ask


@contextlib.contextmanager
def asking_dramatiq(broker: dramatiq.Broker) -> Iterator[Ask]:
    actor = dramatiq.actor(broker=broker, max_retries=0)(archive)
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=1)
    worker.start()

    def ask(*arguments: Any) -> None:
        actor.send(*arguments)
        broker.join(actor.queue_name, timeout=30_000)

    yield ask
    worker.stop()
    broker.close()


@pytest.fixture(scope="module")
def taskiq_broker() -> Ask:
    return asking_taskiq(InMemoryBroker)


def asking_taskiq(make_broker: Callable[[], AsyncBroker]) -> Ask:
    async def ask(*arguments: Any) -> None:
        broker = make_broker()
        await broker.startup()
        task = await broker.task(archive).kiq(*arguments)
        worker = None if isinstance(broker, InMemoryBroker) else asyncio.create_task(run_receiver_task(broker))
        result = await task.wait_result(timeout=30, check_interval=0.02)
        if worker:
            worker.cancel()
            await asyncio.gather(worker, return_exceptions=True)
        await broker.shutdown()
        result.raise_for_error()

    return lambda *arguments: asyncio.run(ask(*arguments))


@pytest.fixture(scope="module")
def rq_queue() -> Iterator[Ask]:
    with contextlib.closing(fakeredis.FakeStrictRedis()) as connection:
        yield asking_rq(connection)


def asking_rq(connection: redis.Redis) -> Ask:
    queue = Queue(connection=connection, serializer=JSONSerializer)

    def ask(*arguments: Any) -> None:
        job = queue.enqueue(archive, *arguments)
        with signals_kept():
            SimpleWorker([queue], connection=connection, serializer=JSONSerializer).work(burst=True, logging_level="CRITICAL")
        result = job.latest_result()
        assert result
        if result.exc_string:  # "Traceback … filerow.exceptions.ExpiredTokenError: …"
            name, _, said = result.exc_string.rstrip().rpartition("\n")[2].partition(": ")
            raise {kind.__name__: kind for kind in (ExpiredTokenError, InvalidTokenError)}[name.rpartition(".")[2]](said)

    return ask


@contextlib.contextmanager
def signals_kept() -> Iterator[None]:
    """Put back the handlers that a worker of RQ sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


TOOLS = ["celery_app", "dramatiq_broker", "taskiq_broker", "rq_queue"]


@pytest.fixture(params=TOOLS)
def ask(request: pytest.FixtureRequest, world: World) -> Ask:
    made: Ask = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=["celery", "dramatiq", "taskiq", "rq"])
def ask_by_redis(request: pytest.FixtureRequest, world: World, redis_server: RedisServer) -> Iterator[Ask]:
    """As ``ask``, by a real Redis."""
    url, results = redis_server.url(0), redis_server.url(1)
    with contextlib.ExitStack() as stack:
        match request.param:
            case "celery":
                yield stack.enter_context(asking_celery(url, results))
            case "dramatiq":
                broker = RedisBroker(url=url)  # type: ignore[no-untyped-call]
                yield stack.enter_context(asking_dramatiq(broker))
            case "taskiq":
                yield asking_taskiq(lambda: ListQueueBroker(url).with_result_backend(RedisAsyncResultBackend(results)))
            case _:
                yield asking_rq(stack.enter_context(redis.Redis.from_url(url)))


def file_of(world: World) -> FileObject:
    file = world.stored(file=FileObject(filename="a.txt", content=b"abc")).file
    assert file
    return file


def archived(world: World) -> list[FileObject]:
    with Session(world.engine) as session:
        return [row.file for row in session.query(Document).filter_by(name="archived") if row.file]


def test_a_task_opens_a_reference_and_its_row_gets_a_copy(ask: Ask, world: World) -> None:
    file = file_of(world)
    ask(file.to_reference(audience=AUDIENCE), str(world.engine.url))
    [copy] = archived(world)
    assert (copy.get_content(), copy.filename) == (b"abc", "a.txt")
    assert world.paths() == {file.path, copy.path}


def test_a_task_with_an_expired_reference_says_so(ask: Ask, world: World) -> None:
    text = file_of(world).to_reference(audience=AUDIENCE)
    with pytest.raises(ExpiredTokenError, match="this reference has expired"):
        ask(sealed(said_by(text), SECRET, purpose="reference", expires_in=-1), str(world.engine.url))
    assert archived(world) == []


def test_a_task_refuses_a_reference_for_another_audience(ask: Ask, world: World) -> None:
    with pytest.raises(InvalidTokenError, match="another audience="):
        ask(file_of(world).to_reference(), str(world.engine.url))
    assert archived(world) == []


def test_a_file_itself_is_refused_where_it_is_sent(ask: Ask, world: World) -> None:
    with pytest.raises(Exception, match=r"FileObject|Cannot send task") as caught:
        ask(file_of(world), str(world.engine.url))
    assert "FileObject" in f"{caught.value} {caught.value.__cause__}"
    assert archived(world) == []


def test_kombu_s_json_keeps_a_reference_as_it_is(world: World) -> None:
    file = file_of(world)
    text = file.to_reference()
    kind, encoding, body = dumps({"file": text, "many": [text]}, serializer="json")  # type: ignore[no-untyped-call]
    found = loads(body, kind, encoding)  # type: ignore[no-untyped-call]
    assert found == {"file": text, "many": [text]}
    assert FileObject.from_reference(found["file"]) == file


def test_taskiq_opens_no_reference_for_an_annotation(world: World) -> None:
    """It validates arguments by pydantic, and leaves what is refused as it came."""

    async def kind(file: FileObject) -> str:
        return type(file).__name__

    async def ask() -> str:
        broker = InMemoryBroker()
        task = await broker.task(kind).kiq(file_of(world).to_reference())  # type: ignore[call-overload]
        result = await task.wait_result(timeout=30, check_interval=0.02)
        await broker.shutdown()
        return str(result.return_value)

    assert asyncio.run(ask()) == "str"


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # Celery's, of redis 8
def test_a_reference_goes_by_a_real_redis(ask_by_redis: Ask, world: World) -> None:
    file = file_of(world)
    ask_by_redis(file.to_reference(audience=AUDIENCE), str(world.engine.url))
    [copy] = archived(world)
    assert (copy.get_content(), copy.filename, copy == file) == (b"abc", "a.txt", False)
