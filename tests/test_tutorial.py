"""The tutorial, followed to its end: its files written, its commands run, what they print compared, its application driven.

What a block is for, the page says in its first line: ``# models.py`` begins a file or adds to it. In a console block ``$ ``
begins a command, and what stands below is what it prints; ``...`` is anything.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.documents.blocks import COMMANDS_NOT_RUN
from tests.servers._process import HOST, ROOT, ServerProcess, accepts_connections, free_ports

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server
    from tests.servers.chromium import Chromium, Page

PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:# |\{# )(\S+\.\w+)(?: #\})?\n")
NOTHING_CHOSEN = (
    b'--edge\r\nContent-Disposition: form-data; name="title"\r\n\r\nx\r\n'
    b'--edge\r\nContent-Disposition: form-data; name="image"; filename=""\r\n\r\n\r\n--edge--\r\n'
)
"""What a browser sends that has no file to send; httpx leaves an empty filename out."""
INSTALLS = ("mkdir album && cd album", *COMMANDS_NOT_RUN)
"""What the tests' own environment and folder stand for."""


@dataclass
class Album:
    """The reader's folder and shell."""

    folder: Path
    environment: dict[str, str]
    written: list[str] = field(default_factory=list)
    started: int = 0
    """How often the page let the reader start the application so far."""
    bucket: dict[str, str] = field(default_factory=dict)
    """What step 10 exports, for those who have a bucket."""

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        if name in self.written:
            text = path.read_text() + "\n\n" + text
        path.write_text(text)
        self.written.append(name)

    def shell(self, script: str) -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", script], cwd=self.folder, env=self.environment, text=True, check=False, timeout=300,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode in {0, 1}, f"$ {script}\n{done.stdout}"
        assert "Traceback" not in done.stdout, f"$ {script}\n{done.stdout}"
        return done.stdout

    def run(self, command: str, expected: str) -> None:
        if command.startswith(INSTALLS):
            return
        if command.startswith("export "):
            exported = self.shell(f"{command}; env -0")
            self.environment |= {name: value for name, _, value in (line.partition("=") for line in exported.split("\0") if line)}
        elif command.startswith("uvicorn "):
            with self.serving(command) as client:
                assert client.get("/").status_code == 200
            self.started += 1
        else:
            shown = self.shell(command)
            pattern = ".*".join(map(re.escape, expected.strip().split("...")))
            assert not expected or re.fullmatch(pattern, shown.strip(), re.DOTALL), f"$ {command}\n{shown}"

    @contextmanager
    def serving(self, command: str = "uvicorn web:app", **environment: str) -> Generator[httpx.Client]:
        """Start the application as the page says, on a port of the test's."""
        port = free_ports()
        process = ServerProcess("album", stop_signal=signal.SIGTERM)
        script = f'cd "{self.folder}" && exec {command.removesuffix(" --reload")} --port {port}'
        with ExitStack() as running:
            running.callback(process.stop)
            process.spawn(["/bin/sh", "-c", script], environment={**self.environment, **environment})
            assert process.wait_until(lambda: accepts_connections(port), timeout=60), process.log
            yield running.enter_context(httpx.Client(base_url=f"http://{HOST}:{port}", timeout=60, trust_env=False))

    def photos(self) -> list[Path]:
        return sorted(path for path in (self.folder / "files" / "photo").rglob("*") if path.is_file())


def commands(block: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with what it prints."""
    parts = re.split(r"^\$ (.*)\n?", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Album:
    """What a reader has who has come to the end of the page."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "FILEROW_", "COV_", "AWS_"))}
    kept["PYTEST_ADDOPTS"] = "-p no:asyncio -p no:cacheprovider -W ignore"  # the reader has no such plugin, but has httpx2
    programs = Path(sys.executable).parent
    made = Album(tmp_path_factory.mktemp("album"), {**kept, "PATH": f"{programs}:{kept['PATH']}"})
    for language, block in BLOCK.findall(PAGE.read_text()):
        if language == "console":
            for command, expected in commands(block):
                made.run(command, expected)
        else:
            name = FILE.match(block)
            assert name, f"a block says in its first line which file it is: {block[:80]}"
            made.write(name[1], block)
    made.bucket = {name: made.environment.pop(name) for name in ("ALBUM_FILES", "FILEROW_SECRET")}
    return made


def painted(album: Album, name: str) -> bytes:
    return (album.folder / name).read_bytes()


def add(client: httpx.Client, album: Album, name: str, title: str) -> httpx.Response:
    return client.post("/", data={"title": title}, files={"image": (name, painted(album, name))}, follow_redirects=True)


def newest(page: str) -> str:
    return re.findall(r'<a href="(/photos/\d+)">', page)[0]


def test_its_installation_has_what_it_imports() -> None:
    """An extra that does not exist is a warning of pip only."""
    [wanted] = re.findall(r"^\$ pip install (.*)$", PAGE.read_text(), re.MULTILINE)
    [extras] = re.findall(r"filerow\[(.*?)\]", wanted)
    known = (ROOT / "pyproject.toml").read_text()
    assert [name for name in extras.split(",") if f"\n{name} = [" not in known] == []
    assert {"jinja2", "uvicorn", "pytest"} <= set(wanted.split())


def test_its_application_keeps_rows_and_files_equal(album: Album) -> None:
    assert album.started == 1, "the reader sees it before it is complete"
    before = album.photos()
    with album.serving() as client:
        photo = newest(add(client, album, "sea.jpg", "Sea").text)
        [stored] = set(album.photos()) - set(before)
        assert client.get(f"{photo}/original").content == painted(album, "sea.jpg")

        for page in ("/", photo):
            [*sources] = re.findall(r' (?:src|srcset)="([^"]+)"', client.get(page).text)
            for url in re.findall(r"/files/\S+", unescape(" ".join(sources))):
                assert client.get(url).headers["content-type"] == "image/webp"

        for address, data in (("/", {"title": "Fake"}), (photo, {})):
            wrong = client.post(address, data=data, files={"image": ("fake.jpg", painted(album, "fake.jpg"))})
            assert wrong.status_code == 415
            assert "only image/jpeg" in wrong.text
            nothing = client.post(address, content=NOTHING_CHOSEN, headers={"Content-Type": "multipart/form-data; boundary=edge"})
            assert nothing.status_code == 422
            assert "a file is needed" in nothing.text
        cut = client.post("/", data={"title": "Cut"}, files={"image": ("cut.jpg", painted(album, "sea.jpg")[:3000])})
        assert cut.status_code == 422
        assert 'role="alert"' in cut.text
        assert set(album.photos()) == {*before, stored}

        client.post(photo, files={"image": ("sun.jpg", painted(album, "sun.jpg"))})
        assert client.get(f"{photo}/original").content == painted(album, "sun.jpg")
        client.post(f"{photo}/delete")
        assert [client.get(f"{photo}{rest}").status_code for rest in ("", "/original")] == [404, 404]
        assert client.get("/admin/photo/list").status_code == 200
    assert "0 dead" in album.shell("filerow stats")
    assert "check: nothing found" in album.shell("filerow check")


def test_its_application_works_in_a_bucket(album: Album, s3_server: S3Server) -> None:
    s3_server.make_bucket("my-bucket")
    keys = {"AWS_ENDPOINT": s3_server.endpoint, "AWS_REGION": s3_server.region, "ALBUM_DATABASE": "sqlite:///bucket.db"}
    keys |= {"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key}
    there = Album(album.folder, {**album.environment, **album.bucket, **keys})
    before = album.photos()
    try:
        there.shell("alembic upgrade head")
        with there.serving() as client:
            photo = newest(add(client, there, "sea.jpg", "Sea").text)
            assert client.get(f"{photo}/original").content == painted(album, "sea.jpg")
            [thumb] = re.findall(r'<img src="([^"]+)"', client.get("/").text)
            assert unescape(thumb).startswith(s3_server.endpoint)
            assert httpx.get(unescape(thumb), trust_env=False).headers["content-type"] == "image/webp"
            large = unescape(re.findall(r'srcset="([^"]+)"', client.get(photo).text)[0]).split()[0]
            assert client.get(large).headers["content-type"] == "image/webp"
        assert album.photos() == before
    finally:
        s3_server.remove_bucket("my-bucket")


def choose(page: Page, folder: Path, name: str) -> None:
    """Choose a file in the page's first form as a user does."""
    root = page.call("DOM.getDocument")["root"]["nodeId"]
    chooser = page.call("DOM.querySelector", nodeId=root, selector="input[type=file]")["nodeId"]
    page.call("DOM.setFileInputFiles", nodeId=chooser, files=[str(folder / name)])


def press(page: Page, button: str) -> str:
    """Press a button, wait for the next page, and return its text."""
    page.events.clear()
    page.evaluate(f"Array.from(document.querySelectorAll('button')).find(one => one.innerText === {button!r}).click(), 0")
    page.wait_for("Page.loadEventFired")
    return str(page.evaluate("document.body.innerText"))


def test_its_pages_in_chromium(album: Album, chromium: Chromium) -> None:
    with album.serving() as client, chromium.page() as page:
        page.call("Emulation.setDeviceMetricsOverride", width=400, height=900, deviceScaleFactor=1, mobile=True)
        page.open(str(client.base_url))
        page.evaluate("document.querySelector('[name=title]').value = 'At the sea', 0")
        choose(page, album.folder, "fake.jpg")
        assert "only image/jpeg" in press(page, "Add")
        assert page.evaluate("document.querySelector('[name=title]').value") == "At the sea"
        choose(page, album.folder, "sea.jpg")
        assert "At the sea" in press(page, "Add")
        page.evaluate("Promise.all(Array.from(document.images, one => one.decode()))")
        assert page.evaluate("document.images[0].naturalWidth") == 240
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        page.open(f"{client.base_url}{newest(client.get('/').text)}")
        page.evaluate("document.images[0].decode()")
        assert page.evaluate("document.images[0].naturalWidth") == 400, "640 pixels on a screen of 400"
        choose(page, album.folder, "sun.jpg")
        assert "sun.jpg" in press(page, "Replace")
        assert "At the sea" not in press(page, "Delete")
