"""gunicorn with preload, uvicorn with workers, Celery with prefork: real servers, with a backend that the parent used, or not."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.execution.running import Service, serving
from tests.execution.stores import KINDS, settings_of
from tests.execution.test_forks import refused, works
from tests.execution.work import make_tables
from tests.servers._process import HOST, accepts_connections


def _settings(kind: str, used: bool, folder: Path, request: pytest.FixtureRequest) -> dict[str, str]:
    settings = settings_of(kind, folder, request)
    make_tables(settings["FILEROW_TEST_ROWS"])
    return {**settings, "FILEROW_TEST_USED": "1" if used else "0", "FILEROW_TEST_BROKER": str(folder / "broker")}


def _combinations(*plain: tuple[str, bool]) -> list[Any]:
    return [
        pytest.param(
            kind, used, marks=() if (kind, used) in plain else pytest.mark.thorough, id=f"{kind}-{'used' if used else 'unused'}"
        )
        for kind in KINDS
        for used in (False, True)
    ]


def answers_of_all_workers(service: Service, workers: int = 2) -> list[dict[str, Any]]:
    """Ask, many times at once, until each worker has answered."""
    service.wait_until(lambda: accepts_connections(service.port))
    answers: list[dict[str, Any]] = []

    def all_have_answered() -> bool:
        with ThreadPoolExecutor(4) as pool:
            answers.extend(pool.map(service.get, ["/attach"] * 4))
        return len({answer["pid"] for answer in answers}) == workers

    service.wait_until(all_have_answered)
    return answers


@pytest.mark.parametrize(("kind", "used"), _combinations(("s3", True)))
def test_gunicorn_s_workers_work_after_preload_or_fail_at_once(
    kind: str, used: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    def argv(port: int) -> list[str]:
        bind = ["--bind", f"{HOST}:{port}", "--no-control-socket"]
        return ["-m", "gunicorn", "--preload", "--workers", "2", *bind, "tests.execution.site:wsgi"]

    with serving(argv, tmp_path, _settings(kind, used, tmp_path, request)) as service:
        for answer in answers_of_all_workers(service):
            assert refused(answer) if kind == "s3" and used else works(answer), answer
        assert service.end() == 0


@pytest.mark.parametrize(("kind", "used"), _combinations())
def test_uvicorn_s_workers_work(kind: str, used: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def argv(port: int) -> list[str]:
        return ["-m", "uvicorn", "--workers", "2", "--host", HOST, "--port", str(port), "tests.execution.site:asgi"]

    with serving(argv, tmp_path, _settings(kind, used, tmp_path, request)) as service:
        assert all(map(works, answers_of_all_workers(service)))
        service.end()


@contextmanager
def _celery(folder: Path, settings: dict[str, str]) -> Iterator[Service]:
    def argv(_: int) -> list[str]:
        worker = ["worker", "--pool", "prefork", "--concurrency", "2", "--without-gossip", "--without-mingle"]
        return ["-m", "celery", "--app", "tests.execution.tasks", *worker, "--without-heartbeat", "--loglevel", "INFO"]

    with serving(argv, folder, {**settings, "C_FORCE_ROOT": "1"}) as service:
        yield service


def _asked(folder: Path) -> str:
    """Put a task into the queue's folder, as any client of the broker does, and return its number."""
    from kombu import Connection

    number = uuid.uuid4().hex
    queue = str(folder / "queue")
    options = {"data_folder_in": queue, "data_folder_out": queue, "control_folder": str(folder / "control")}
    with Connection("filesystem://", transport_options=options) as connection:
        headers = {"lang": "py", "task": "tests.execution.tasks.attach_in_task", "id": number}
        with connection.Producer() as producer:
            producer.publish(
                [[], {}, None], routing_key="celery", exchange="celery", headers=headers, correlation_id=number, serializer="json"
            )  # fmt: skip
    return number


@pytest.mark.parametrize(("kind", "used"), _combinations())
def test_celery_s_forked_workers_work_or_fail_at_once(
    kind: str, used: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = _settings(kind, used, tmp_path, request)
    broker = tmp_path / "broker"
    with _celery(tmp_path, settings) as service:
        service.wait_until(lambda: "ready." in service.log)
        results = [broker / "results" / f"celery-task-meta-{_asked(broker)}" for _ in range(4)]
        service.wait_until(lambda: all(result.exists() for result in results))
        for result in results:
            report = json.loads(result.read_text())
            assert report["status"] == "SUCCESS", service.log
            assert refused(report["result"]) if kind == "s3" and used else works(report["result"]), report
        service.end()
