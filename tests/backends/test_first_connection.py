"""A backend that connects when it is made says which server it cannot reach, and keeps the password to itself."""

from __future__ import annotations

import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from filerow import StorageRegistry
from filerow.backends.fsspec import FSSpecBackend
from filerow.exceptions import StorageError, StoragePermissionError, StorageTimeoutError

PASSWORD = "Sjkq8vYyqP0"


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


Answers = Callable[[bytes], int]


@pytest.fixture
def answers() -> Iterator[Answers]:
    """Return a server of FTP that greets, and answers each command with the same line; nothing if that is empty."""
    sockets: list[socket.socket] = []

    def serve(answer: bytes) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        sockets.append(server)

        def talk() -> None:
            with suppress(OSError):
                client, _ = server.accept()
                sockets.append(client)
                while answer:
                    client.sendall(answer)
                    if not client.recv(1000):
                        return

        threading.Thread(target=talk, daemon=True).start()
        return int(server.getsockname()[1])

    yield serve
    for one in sockets:
        one.close()


@pytest.mark.parametrize("protocol", ["ftp", "sftp"])
@pytest.mark.parametrize("way", ["register_backend", "configure", "options"])
def test_server_that_is_not_there_is_named(protocol: str, way: str, closed_port: int) -> None:
    registry = StorageRegistry()
    url = f"{protocol}://shop:{PASSWORD}@127.0.0.1:{closed_port}/files"
    with pytest.raises(StorageError) as caught:
        if way == "configure":
            registry.configure({"memory": "memory://", "docs": url})
        elif way == "options":
            FSSpecBackend("docs", protocol, host="127.0.0.1", port=closed_port, username="shop", password=PASSWORD)
        else:
            registry.register_backend(url, key="docs")
    text = str(caught.value)
    assert "'docs'" in text
    assert f"{protocol}://127.0.0.1" in text
    assert "does it run" in text
    assert isinstance(caught.value.__cause__, Exception)
    assert registry.registered_backends() == []
    told = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in told.replace(f"password={PASSWORD}", "").replace(url, "")


def test_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(StorageError, match=r"ftp://no-such-host\.invalid.*does it run"):
        FSSpecBackend("docs", "ftp://no-such-host.invalid/files")


def test_refused_login_is_said_to_be_one(answers: Answers) -> None:
    port = answers(b"530 Login incorrect.\r\n")
    with pytest.raises(StoragePermissionError, match=r"'docs'.*127\.0\.0\.1.*username and password") as caught:
        FSSpecBackend("docs", "ftp", host="127.0.0.1", port=port, username="shop", password=PASSWORD)
    assert PASSWORD not in str(caught.value)


def test_server_that_says_nothing_is_a_timeout(answers: Answers) -> None:
    port = answers(b"")
    with pytest.raises(StorageTimeoutError, match=r"'docs'.*ftp://127\.0\.0\.1"):
        FSSpecBackend("docs", "ftp", host="127.0.0.1", port=port, timeout=0.3)


def test_server_of_another_protocol_is_named(answers: Answers) -> None:
    port = answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(StorageError, match=r"'docs'.*sftp://127\.0\.0\.1.*host= and port= right"):
        FSSpecBackend("docs", "sftp", host="127.0.0.1", port=port, username="shop", timeout=1)
