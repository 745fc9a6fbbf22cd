"""What only Flask has: error handlers of the application that go first, and a JSON provider."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flask
import pytest
from flask import Flask
from flask.json.provider import JSONProvider
from pydantic import TypeAdapter

from filerow import FileObject, FileObjectList, storages
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


WAYS: dict[str, Callable[[FileObject], Any]] = {
    "returned": lambda file: {"file": file, "pages": FileObjectList([file])},
    "jsonify": lambda file: flask.jsonify(file=file, pages=[file]),
    "dumps": lambda file: flask.json.dumps({"file": file, "pages": (file,)}),
    "dataclass": lambda file: flask.jsonify(Shown(file, [file])),
}


@dataclass
class Shown:
    file: FileObject
    pages: list[FileObject]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_answer_with_json_shows_the_view(world: World, way: str) -> None:
    file = world.stored(file=FileObject(filename="a.txt", content=b"abc")).file
    assert file
    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: WAYS[way](file))
    install(app)
    answer = app.test_client().get("/")
    view = TypeAdapter(FileObject).dump_python(file, mode="json")
    assert json.loads(answer.data) == {"file": view, "pages": [view]}


def test_a_provider_without_a_default_is_left_as_it_is(world: World) -> None:
    class Plain(JSONProvider):
        def dumps(self, obj: Any, **kwargs: Any) -> str:
            return json.dumps(obj)

        def loads(self, s: str | bytes, **kwargs: Any) -> Any:
            return json.loads(s)

    app = Flask(__name__)
    app.json = Plain(app)
    install(app)
    file = FileObject(filename="a.txt", content=b"abc")
    app.add_url_rule("/", view_func=lambda: {"file": file.public_view()})
    assert app.test_client().get("/").json["file"]["filename"] == "a.txt"
    with app.app_context(), pytest.raises(TypeError, match="FileObject is not JSON serializable"):
        flask.jsonify(file)


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
