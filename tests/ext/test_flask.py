"""What only Flask has: error handlers of the application that go first, and a JSON provider."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from filerow import FileObject, storages
from filerow.exceptions import FileTooLargeError
from filerow.ext.flask import StoredFileResponse, Uploaded, install
from tests.ext.world import LIMIT, Document, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Rows and files of one test."""
    made = World.make(tmp_path)
    yield made
    made.engine.dispose()
    storages.clear_backends()


def upload(content: bytes = b"abc") -> tuple[io.BytesIO, str, str]:
    return io.BytesIO(content), "a.txt", "text/plain"


@pytest.mark.parametrize("ours_first", [True, False])
def test_an_error_handler_of_the_application_goes_first(world: World, ours_first: bool) -> None:
    app = Flask(__name__)
    if ours_first:
        install(app)
    app.register_error_handler(FileTooLargeError, lambda error: (f"mine: {error.limit}", 418))
    if not ours_first:
        install(app)

    @app.post("/")
    def take() -> str:
        Uploaded(Document.file)
        raise AssertionError

    answer = app.test_client().post("/", data={"file": upload(b"x" * (LIMIT + 1))})
    assert (answer.status_code, answer.text) == (418, f"mine: {LIMIT}")


def test_what_the_json_provider_knew_before_it_still_knows(world: World) -> None:
    app = Flask(__name__)
    app.json.default = lambda value: f"known: {value}"  # type: ignore[attr-defined]
    install(app)

    @app.post("/")
    def take() -> dict[str, Any]:
        return {"files": Uploaded(Document.pages, field="file"), "other": {1}.__class__}

    shown = app.test_client().post("/", data={"file": [upload(), upload()]}).json
    assert [file["filename"] for file in shown["files"]] == ["a.txt", "a.txt"]
    assert shown["other"].startswith("known:")


def test_a_response_can_be_changed_before_it_is_sent(world: World) -> None:
    file = world.stored(file=FileObject(filename="a.txt", content=b"abc")).file
    assert file
    app = Flask(__name__)
    closed = []

    @app.get("/")
    def show() -> Any:
        response = StoredFileResponse(file)
        response.set_cookie("seen", "yes")
        response.call_on_close(lambda: closed.append(True))
        return response

    answer = app.test_client().get("/")
    assert (answer.data, "seen=yes" in answer.headers["Set-Cookie"]) == (b"abc", True)
    answer.close()
    assert closed
