"""FTP sends contents through separate connections: nothing hangs on them, and no answer is matched to another command."""

from __future__ import annotations

import gc
import logging
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from filerow.backends.base import PutOptions
from filerow.backends.fsspec import FSSpecBackend
from filerow.exceptions import ObjectNotFoundError, StorageError, StorageTimeoutError
from tests.backends.faults.operations import BIG, OPERATIONS, SECONDS, check, tried
from tests.backends.faults.passive import Passive
from tests.servers._process import HOST
from tests.servers.faulty import FaultyRelay, Mode

pytestmark = [
    pytest.mark.usefixtures("frozen_heap"),
    pytest.mark.servers,
    pytest.mark.filterwarnings("ignore:The async:DeprecationWarning"),  # pyftpdlib uses asyncore
]

WRITING = [name for name in OPERATIONS if name.startswith(("put", "copy"))]
READING = [name for name in OPERATIONS if name.startswith(("read", "stream"))]


_opened: list[FSSpecBackend] = []


def closing(backend: FSSpecBackend) -> FSSpecBackend:
    """Have the connection closed after the test: what failed refers to it, and may be collected in the midst of another test."""
    _opened.append(backend)
    return backend


@pytest.fixture(autouse=True)
def connections_are_closed() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().fs.ftp.close()
    gc.collect()  # what it complains of fails the test that left it


class Folder:
    """A new folder with one large object on the server."""

    def __init__(self, server: Any) -> None:
        self.target = f"tcp://{HOST}:{server.port}"
        self._options = {"fs": "ftp", "prefix": f"/{uuid.uuid4().hex}", **server.options}
        self.store = closing(FSSpecBackend("docs", **self._options))
        self.store.put("big", BIG)

    def through(self, relay: FaultyRelay) -> FSSpecBackend:
        return closing(FSSpecBackend("docs", **{**self._options, "port": relay.port, "timeout": SECONDS}))

    def check(self, mode: Mode, after: int, names: list[str], kind: type[StorageError]) -> None:
        check(tried(self.target, self.through, mode, after, names, connections=len(names), relay_of=Passive), kind)
        assert [info.path for info in self.store.list()] == ["big"]  # nothing half-written


@pytest.fixture
def folder(ftp_server: Any) -> Folder:
    return Folder(ftp_server)


@pytest.mark.thorough
def test_everything_ends_when_the_server_sends_no_content(folder: Folder) -> None:
    folder.check("stalled-answer", 0, list(OPERATIONS), StorageTimeoutError)


def test_a_read_ends_when_the_content_stops_coming(folder: Folder) -> None:
    folder.check("stalled-answer", 20_000, READING, StorageTimeoutError)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("mode", "after"), [("silent", 0), ("stalled-upload", 20_000)])
def test_upload_ends_when_its_content_is_no_longer_read(folder: Folder, mode: Mode, after: int) -> None:
    large = [name for name in WRITING if not after or not name.startswith(("put, s", "put, a"))]
    folder.check(mode, after, large, StorageTimeoutError)


def test_a_read_fails_when_its_content_is_cut(folder: Folder) -> None:
    folder.check("cut-answer", 20_000, READING, StorageError)


def test_an_upload_fails_when_its_content_is_cut(folder: Folder) -> None:
    """The server takes the end of the connection for the end of the file, and says that all went well."""
    folder.check("reset", 0, WRITING, StorageError)


# -- answers that fsspec takes for "there is no such file" ----------------------------------------------------------------


class ScriptedFTP:
    """An FTP server in a thread, whose answer to a command can be chosen."""

    def __init__(self, root: Path) -> None:
        from pyftpdlib.authorizers import DummyAuthorizer
        from pyftpdlib.handlers import FTPHandler
        from pyftpdlib.servers import FTPServer

        class Handler(FTPHandler):  # type: ignore[misc]  # it has no types
            authorizer = DummyAuthorizer()
            answers: ClassVar[dict[str, str]] = {}

            def pre_process_command(self, line: str, cmd: str, arg: str) -> None:
                answer = self.answers.get(cmd)
                if answer is None:
                    super().pre_process_command(line, cmd, arg)
                    return
                self.respond(answer)
                if answer.startswith("421"):
                    self.close_when_done()

        logging.getLogger("pyftpdlib").addHandler(logging.NullHandler())  # or it logs for the whole process, to its end
        Handler.authorizer.add_user("app", "a password", str(root), perm="elradfmwMT")
        self.answers = Handler.answers
        self._server = FTPServer((HOST, 0), Handler)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        """Answer, and close in this thread too: another would take the files away under the loop that waits for them."""
        while not self._ends.is_set():
            self._server.ioloop.loop(0.05, blocking=False)
        self._server.close_all()

    def backend(self, **options: Any) -> FSSpecBackend:
        port = self._server.socket.getsockname()[1]
        login = {"host": HOST, "port": port, "username": "app", "password": "a password"}
        return closing(FSSpecBackend("docs", "ftp", "/", timeout=5, **login, **options))

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()


@pytest.fixture
def scripted_ftp(tmp_path: Path) -> Iterator[ScriptedFTP]:
    pytest.importorskip("pyftpdlib")
    server = ScriptedFTP(tmp_path)
    yield server
    server.stop()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("answer", ["450 Busy.", "425 No more connections.", "421 Too many clients."])
def test_a_server_that_is_busy_has_not_lost_its_files(scripted_ftp: ScriptedFTP, answer: str) -> None:
    store = scripted_ftp.backend()
    store.put("a/b", b"content")
    scripted_ftp.answers["MLSD"] = answer
    for operation in (
        lambda: store.head("a/b"),
        lambda: list(store.list("a")),
        lambda: list(store.list()),
        lambda: store.put("a/b", b"another", PutOptions(create_only=True)),
        lambda: store.copy("a/b", "a/c"),
        lambda: list(store.stream("a/b")),
    ):
        with pytest.raises(StorageError, match=answer[:3]) as caught:
            operation()
        assert not isinstance(caught.value, ObjectNotFoundError)
    assert answer[:3] in str(store.delete(["a/b"])["a/b"])
    scripted_ftp.answers.clear()
    assert store.read("a/b") == b"content"
    assert [info.path for info in store.list()] == ["a/b"]


def test_a_content_that_may_not_be_read_now_is_not_lost(scripted_ftp: ScriptedFTP) -> None:
    store = scripted_ftp.backend()
    store.put("a", b"content")
    scripted_ftp.answers["RETR"] = "450 Busy."
    with pytest.raises(StorageError, match="450") as caught:
        store.read("a")
    assert not isinstance(caught.value, ObjectNotFoundError)
    scripted_ftp.answers.clear()
    assert store.read("a") == b"content"


def test_a_name_in_another_encoding_leaves_the_answers_in_step(scripted_ftp: ScriptedFTP, tmp_path: Path) -> None:
    store = scripted_ftp.backend(encoding="ascii")
    store.put("a", b"content")
    odd = tmp_path / "é"
    odd.write_bytes(b"")
    with pytest.raises(StorageError, match="decode"):
        list(store.list())
    odd.unlink()
    assert store.read("a") == b"content"
    assert [info.path for info in store.list()] == ["a"]
