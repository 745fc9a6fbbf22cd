"""Everything is shared by threads without a lock of the application's."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import BackendNotFoundError, FileStateError
from tests.execution.running import DEADLINE
from tests.execution.stores import KINDS, registered, settings_of
from tests.execution.work import Document, left, make_tables, rows_engine

THREADS = 32
PLAIN = {"s3"}


@pytest.fixture(params=[pytest.param(kind, marks=() if kind in PLAIN else pytest.mark.thorough) for kind in KINDS])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in settings_of(request.param, tmp_path, request).items():
        monkeypatch.setenv(name, value)
    make_tables()
    yield registered()
    storages.clear_backends()


def in_threads(work: Callable[[int], Any]) -> list[Any]:
    """Run something in all threads at once, and return what each of them returned."""
    at_once = threading.Barrier(THREADS)

    def begin(number: int) -> Any:
        at_once.wait(DEADLINE)
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return [one.result(DEADLINE) for one in [pool.submit(begin, number) for number in range(THREADS)]]


def test_threads_share_a_backend_and_a_file(store: Any) -> None:
    shared = FileObject("docs", "shared.bin", content=b"s" * 100_000).save()

    def work(number: int) -> None:
        own = FileObject("docs", f"{number}.bin", content=b"%d" % number).save()
        assert shared.get_content() == b"s" * 100_000
        with shared.open() as opened:
            opened.seek(99_999)
            assert opened.read() == b"s"
        assert own.get_content() == b"%d" % number
        own.delete()

    in_threads(work)
    shared.delete()
    assert left() == 0


def test_threads_have_sessions_of_one_engine(store: Any) -> None:
    engine = rows_engine()

    def work(number: int) -> int:
        with Session(engine) as session:
            row = Document(title=str(number), file=FileObject(content=b"%d" % number))
            session.add(row)
            session.commit()
            if number % 2:
                session.delete(row)
                session.commit()
            return row.id if number % 2 == 0 else 0

    kept = [key for key in in_threads(work) if key]
    with Session(engine) as session:
        for key in kept:
            row = session.get_one(Document, key)
            assert row.file is not None
            assert row.file.get_content() == str(row.title).encode()
    assert left() == len(kept) == THREADS // 2
    engine.dispose()


def test_threads_register_and_unregister_while_others_look(store: Any) -> None:
    def work(number: int) -> None:
        for turn in range(50):
            if number % 4 == 0:
                assert storages.get_backend("docs") is store
                assert "docs" in storages.registered_backends()
                continue
            key = f"own-{number}"
            backend = storages.register_backend(MemoryBackend(key))
            assert storages.get_backend(key) is backend
            backend.put("a", b"%d" % turn)
            assert storages.get_backend(key).read("a") == b"%d" % turn
            storages.unregister_backend(key)
            with pytest.raises(BackendNotFoundError):
                storages.get_backend(key)

    in_threads(work)
    assert storages.get_backend("docs") is store


def test_stored_file_goes_to_another_process_pending_does_not(store: Any) -> None:
    file = FileObject("docs", "a.txt", content=b"content").save()
    again = pickle.loads(pickle.dumps(file))
    assert again == file
    assert again.get_content() == b"content"
    file.delete()
    pending = FileObject("docs", "a.txt", content=iter([b"content"]))
    with pytest.raises(FileStateError, match="cannot be pickled before it is stored"):
        pickle.dumps(pending)
