"""What a browser records of a microphone and a camera, sent by form and by direct upload to columns of sound and of films."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask, request
from sqlalchemy import Engine, StaticPool, create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from werkzeug.serving import make_server

from filerow import FileObject, StoredObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.ext.flask import Uploaded, install, routes
from tests.direct.conftest import SECRET

if TYPE_CHECKING:
    from tests.servers.chromium import Chromium, Page

PAGE = """<!doctype html><meta charset=utf-8><title>recorder</title>
<script type=module>import { upload } from "/files/filerow.js"; window.upload = upload;</script>"""
RECORD = """
(async (type, constraints) => {
    const stream = await navigator.mediaDevices.getUserMedia(constraints);
    const recorder = new MediaRecorder(stream, {mimeType: type});
    const parts = [];
    recorder.ondataavailable = event => parts.push(event.data);
    const ended = new Promise(done => { recorder.onstop = done; });
    recorder.start();
    await new Promise(done => setTimeout(done, 400));
    recorder.stop();
    await ended;
    stream.getTracks().forEach(track => track.stop());
    window.recorded = new File(parts, "recording", {type: recorder.mimeType});
    return recorder.mimeType;
})"""
SEND = """
(async (column, how) => {
    const form = new FormData();
    try {
        if (how === "form") form.append("file", recorded);
        else form.append("claim", await upload(recorded, {url: "/uploads/" + column, retries: 0}));
    } catch (error) { return [error.status ?? 0, error.message]; }
    const answer = await fetch("/" + how + "/" + column, {method: "POST", body: form});
    return [answer.status, await answer.text()];
})"""


class Base(DeclarativeBase):
    pass


class Recording(Base):
    __tablename__ = "recording"
    id: Mapped[int] = mapped_column(primary_key=True)
    audio: Mapped[FileObject | None] = mapped_column(StoredObject("recordings", content_types=["audio/*"]))
    video: Mapped[FileObject | None] = mapped_column(StoredObject("recordings", content_types=["video/*"]))
    anything: Mapped[FileObject | None] = mapped_column(StoredObject("recordings"))


def application(engine: Engine) -> Flask:
    app = Flask(__name__)
    mounted = {name: DirectUploads(getattr(Recording, name), secret=SECRET) for name in ("audio", "video", "anything")}
    app.register_blueprint(routes("/files", uploads=mounted, uploads_url="/uploads", authorize=lambda: None))
    install(app)

    def kept(column: str, file: FileObject) -> str:
        with Session(engine, expire_on_commit=False) as session:
            session.add(Recording(**{column: file}))
            session.commit()
        return file.content_type

    @app.get("/")
    def page() -> str:
        return PAGE

    @app.post("/form/<column>")
    def by_form(column: str) -> str:
        return kept(column, Uploaded(getattr(Recording, column), field="file"))

    @app.post("/direct/<column>")
    def by_claim(column: str) -> str:
        return kept(column, mounted[column].claim(request.form["claim"]))

    return app


@pytest.fixture(scope="module")
def recorder(chromium: Chromium) -> Iterator[Page]:
    """A page of the application, in a browser with a microphone that beeps and a camera that shows a clock."""
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    Base.metadata.create_all(engine)
    server = make_server("127.0.0.1", 0, application(engine), threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    storages.register_backend(MemoryBackend("recordings", base_url=f"{url}/files", secret=SECRET))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with chromium.page() as page:
        page.open(f"{url}/")
        page.evaluate("new Promise(done => { const look = () => window.upload ? done() : setTimeout(look, 10); look(); })")
        yield page
    server.shutdown()
    thread.join()
    storages.clear_backends()
    engine.dispose()


MICROPHONE = {"audio": True}
CAMERA: dict[str, Any] = {"audio": True, "video": {"width": 64, "height": 48, "frameRate": 5}}
RECORDINGS = {
    "webm_sound": ("audio/webm;codecs=opus", MICROPHONE, "audio/webm"),
    "mp4_sound": ("audio/mp4", MICROPHONE, "audio/mp4"),
    "webm_film": ("video/webm;codecs=vp8,opus", CAMERA, "video/webm"),
    "mp4_film": ("video/mp4", CAMERA, "video/mp4"),
}


@pytest.mark.parametrize(("asked", "constraints", "stored"), RECORDINGS.values(), ids=RECORDINGS)
def test_what_a_browser_records_is_sound_or_film(recorder: Page, asked: str, constraints: dict[str, Any], stored: str) -> None:
    if not recorder.evaluate(f"MediaRecorder.isTypeSupported({asked!r})"):
        pytest.skip(f"this Chromium does not record {asked}")
    assert recorder.evaluate(f"{RECORD}({asked!r}, {json.dumps(constraints)})").startswith(stored)
    fits = stored.partition("/")[0]
    for how in ("form", "direct"):
        for column in ("audio", "video", "anything"):
            status, text = recorder.evaluate(f"{SEND}({column!r}, {how!r})")
            expected = (200, stored) if column in {fits, "anything"} else (415, text)
            assert (status, text) == expected, (how, column)
