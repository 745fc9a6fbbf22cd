"""Files from web addresses: a real server on loopback, hostile addresses, and a resolver that lies."""

from __future__ import annotations

import asyncio
import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, StoredObject
from filerow.exceptions import FetchError, FileTooLargeError

LOOPBACK = ["127.0.0.0/8"]
BOTH = pytest.mark.parametrize("fetch", ["sync", "async"], indirect=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        asked.append((self.path, dict(self.headers)))
        name = self.path.partition("?")[0].strip("/")
        getattr(self, f"do_{name.partition('.')[0]}", self.do_cat)()

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_cat(self) -> None:
        self.answer(200, b"meow", Content_Type="text/plain; charset=utf-8")

    def do_moved(self) -> None:
        self.answer(302, Location=self.path.partition("?")[2])

    def do_loop(self) -> None:
        self.answer(302, Location="/loop")

    def do_none(self) -> None:
        self.answer(404, b"no")

    def do_bomb(self) -> None:
        self.answer(200, gzip.compress(bytes(10_000_000)), Content_Encoding="gzip")

    def do_claimed(self) -> None:
        self.answer(200, b"x", Content_Length="10000000000")

    def do_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(1000):
                self.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        except OSError:
            cut.set()

    def do_short(self) -> None:
        self.answer(200, b"half", Content_Length="8")
        self.close_connection = True

    def do_drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        try:
            while not done.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            cut.set()

    def do_export(self) -> None:
        self.answer(200, b"%PDF-1.4", Content_Disposition=unquote(self.path.partition("?")[2]).encode().decode("latin-1"))

    def do_large(self) -> None:
        self.answer(200, bytes(3_000_000))


asked: list[tuple[str, dict[str, str]]] = []
done, cut = threading.Event(), threading.Event()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        done.set()
        httpd.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def fresh() -> None:
    asked.clear()
    cut.clear()


Fetch = Callable[..., FileObject]


@pytest.fixture
def fetch(request: pytest.FixtureRequest) -> Fetch:
    if request.param == "sync":
        return FileObject.from_url
    return lambda *args, **options: asyncio.run(FileObject.from_url_async(*args, **options))


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """A resolver that answers what a test says, one answer for each question."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look_up(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name not in answers:
            return real(host, port, *args, **options)
        found = answers[name].pop(0) if len(answers[name]) > 1 else answers[name][0]
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found.split()
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return answers


@BOTH
def test_file_of_a_web_address_is_pending(server: str, fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    file = fetch(f"{server}/a%20cat.txt?token=1#part", allow=LOOPBACK)
    assert (file.filename, file.content_type, file.get_content()) == ("a cat.txt", "text/plain", b"meow")
    ((path, headers),) = asked
    assert path == "/a%20cat.txt?token=1"
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers
    assert fetch(f"{server}/cat", allow=LOOPBACK, filename="other.txt").filename == "other.txt"


@pytest.mark.parametrize("fetch", ["sync"], indirect=True)
@pytest.mark.parametrize(
    ("said", "name"),
    [
        ('attachment; filename="report.pdf"', "report.pdf"),
        ("attachment; filename=report.pdf", "report.pdf"),
        ("attachment; filename=\"r.pdf\"; filename*=UTF-8''%C3%9Cbersicht%20%E9%9B%AA.pdf", "Übersicht 雪.pdf"),
        ("attachment; filename*=iso-8859-1''%DCbersicht.pdf", "Übersicht.pdf"),
        ('attachment; filename="Übersicht.pdf"', "Übersicht.pdf"),
        ('inline; filename="../../etc/passwd"', "passwd"),
        ('inline; filename="C:\\\\x\\\\a.pdf"', "a.pdf"),
        ("attachment; filename*=nonsense''%FF.pdf", None),
        ("attachment", "export"),
        ('attachment; filename=""', "export"),
        ("nonsense;;;=", "export"),
        ("attachment; filename=" + "a" * 3000, None),
    ],
)
def test_server_may_name_the_file(server: str, fetch: Fetch, said: str, name: str | None) -> None:
    file = fetch(f"{server}/export?{quote(said)}", allow=LOOPBACK)
    assert len(file.filename.encode()) <= 255
    assert name in {None, file.filename}
    assert fetch(f"{server}/export?{quote(said)}", allow=LOOPBACK, filename="mine.pdf").filename == "mine.pdf"


@BOTH
def test_large_file_is_on_disk_and_can_be_read_again(server: str, fetch: Fetch) -> None:
    file = fetch(f"{server}/large", allow=LOOPBACK, max_size=3_000_000)
    assert file.get_content() == file.get_content() == bytes(3_000_000)
    with pytest.raises(FileTooLargeError, match="max_size is 2,999,999"):
        fetch(f"{server}/large", allow=LOOPBACK, max_size=2_999_999)


@BOTH
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0177.0.0.1",
        "0x7f.0.0.1",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[fec0::1]",
        "[fd00::1]",
        "[::127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.168.1.1",
        "224.0.0.1",
        "240.0.0.1",
        "192.88.99.1",
        "198.18.0.1",
        # by every release of Python: addresses of protocols, Oracle's and Azure's metadata, documentation
        "192.0.0.1",
        "192.0.0.192",
        "168.63.129.16",
        "[64:ff9b::c000:c0]",
        "[2002:c000:c0::]",
        "[::ffff:192.0.0.192]",
        "[2001:20::1]",
        "[2001:1::1]",
        "[3fff::1]",
    ],
)
def test_address_that_is_not_public_is_refused(fetch: Fetch, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for network in (httpcore.SyncBackend, httpcore.AnyIOBackend):
        monkeypatch.setattr(network, "connect_tcp", lambda *_, **__: pytest.fail("it was connected to"))
    with pytest.raises(FetchError, match=r"not of the public internet|Invalid IPv4 address"):
        fetch(f"http://{host}/")


@BOTH
@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a",
        "gopher://example.com/",
        "data:text/plain,hi",
        "http://user:secret@example.com/",
        "http://user@example.com/",
        "http://example.com:22/",
        "https://example.com:8443/",
        "http:///path",
        "//example.com/",
        "http://[::1",
        "http://a b/",
        "http://example.com:99999/",
        "",
    ],
)
def test_address_that_is_not_plain_web_is_refused(
    fetch: Fetch, url: str, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    names["example.com"] = ["93.184.215.14"]
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("it was connected to"))
    with pytest.raises(FetchError) as caught:
        fetch(url)
    assert "secret" not in str(caught.value)


@BOTH
def test_name_with_one_private_address_is_refused(fetch: Fetch, names: dict[str, list[str]]) -> None:
    names["mixed.example"] = ["93.184.215.14 10.0.0.1"]
    names["none.example"] = ["127.0.0.1"]
    for name, address in (("mixed", "10.0.0.1"), ("none", "127.0.0.1")):
        with pytest.raises(FetchError, match=f"has the address {address}"):
            fetch(f"http://{name}.example/")


@BOTH
def test_name_is_looked_up_once_for_check_and_connection(server: str, fetch: Fetch, names: dict[str, list[str]]) -> None:
    """The second answer would lead elsewhere: an address is connected to, not a name."""
    port = server.rpartition(":")[2]
    names["changes.example"] = ["127.0.0.1", "127.0.0.2 10.0.0.1"]
    assert fetch(f"http://changes.example:{port}/cat", allow=["127.0.0.1/32"]).get_content() == b"meow"
    assert len(names["changes.example"]) == 1
    with pytest.raises(FetchError, match=r"127\.0\.0\.2"):
        fetch(f"http://changes.example:{port}/cat", allow=["127.0.0.1/32"])


@BOTH
@pytest.mark.parametrize(
    "target", ["http://127.0.0.2/", "http://[::1]/", "//localhost/", "http://private.example/", "file:///etc/passwd", "/loop", ""]
)
def test_redirect_is_judged_as_the_first_address(server: str, fetch: Fetch, target: str, names: dict[str, list[str]]) -> None:
    names["private.example"] = names["localhost"] = ["10.0.0.1"]
    with pytest.raises(FetchError):
        fetch(f"{server}/moved?{target}", allow=["127.0.0.1/32"])
    assert {path.partition("?")[0] for path, _ in asked} <= {"/moved", "/loop"}


@BOTH
def test_redirect_that_is_allowed_is_followed(server: str, fetch: Fetch) -> None:
    assert fetch(f"{server}/moved?/dir/cat.txt", allow=LOOPBACK).filename == "cat.txt"
    with pytest.raises(FetchError, match="more than 0 times"):
        fetch(f"{server}/moved?/cat.txt", allow=LOOPBACK, max_redirects=0)


@BOTH
@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("bomb", "encoded as 'gzip'"),
        ("none", "status 404"),
        ("short", "could not be fetched"),
    ],
)
def test_answer_that_is_not_a_file_is_refused(server: str, fetch: Fetch, path: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as caught:
        fetch(f"{server}/{path}?token=secret", allow=LOOPBACK)
    assert "secret" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("path", ["claimed", "endless"])
def test_size_is_limited_by_what_is_said_and_what_comes(server: str, fetch: Fetch, path: str) -> None:
    with pytest.raises(FileTooLargeError, match="max_size is 1,000,000"):
        fetch(f"{server}/{path}", allow=LOOPBACK, max_size="1 MB")
    if path == "endless":
        assert cut.wait(5), "the connection was closed"


@BOTH
def test_one_deadline_ends_a_slow_drip(server: str, fetch: Fetch) -> None:
    began = time.monotonic()
    with pytest.raises(FetchError, match=r"not within 0\.3 s"):
        fetch(f"{server}/drip", allow=LOOPBACK, timeout=0.3)
    assert time.monotonic() - began < 3


@BOTH
def test_deadline_ends_a_slow_resolver(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: free.wait(10) and [])
    try:
        with pytest.raises(FetchError, match=r"not within 0\.1 s"):
            fetch("http://slow.example/", timeout=0.1)
    finally:
        free.set()


@BOTH
@pytest.mark.parametrize("host", ["a" * 80, "xn--", "xn--a.example", "a..b"])
def test_name_that_is_none_is_one_error(fetch: Fetch, host: str) -> None:
    with pytest.raises(FetchError, match=r"not a web address|not valid|could not be fetched") as refused:
        fetch(f"http://{host}/")
    assert "not within" not in str(refused.value)


@BOTH
def test_port_that_nobody_listens_on_is_one_error(fetch: Fetch) -> None:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        with pytest.raises(FetchError, match="could not be fetched"):
            fetch(f"http://127.0.0.1:{place.getsockname()[1]}/", allow=LOOPBACK)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 0}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"timeout": 1e300}, {"max_redirects": -1},
        {"allow": ["here"]}, {"allow": "::1"}, {"max_size": "x"},
    ],
)  # fmt: skip
def test_limit_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|max_size is"):
        FileObject.from_url("http://127.0.0.1/", **options)


@BOTH
def test_certificate_of_a_host_is_checked(fetch: Fetch, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        httpd.handle_error = lambda *_: None  # type: ignore[method-assign]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            with pytest.raises(FetchError, match="certificate verify failed"):
                fetch(f"https://127.0.0.1:{httpd.server_address[1]}/cat", allow=LOOPBACK)
        finally:
            httpd.shutdown()
            thread.join()


def self_signed(folder: Path) -> Path:
    """Return a certificate that nobody trusts, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
    names = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    place = folder / "server.pem"
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    place.write_bytes(key.private_bytes(*form) + certificate.public_bytes(serialization.Encoding.PEM))
    return place


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject] = mapped_column(StoredObject("docs"))


def test_fetched_file_is_stored_and_survives_a_rollback(server: str) -> None:
    engine = create_engine("sqlite://")
    try:
        Base.metadata.create_all(engine)
        file = FileObject.from_url(f"{server}/large", allow=LOOPBACK)
        with Session(engine) as session:
            session.add(Document(id=1, file=file))
            session.flush()
            session.rollback()
            session.add(Document(id=2, file=file))
            session.commit()
            assert session.get_one(Document, 2).file.size == 3_000_000
        assert len(asked) == 1
    finally:
        engine.dispose()


def test_refused_file_leaves_nothing_open(server: str) -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
    for path in ("endless", "short", "bomb", "none"):
        with pytest.raises((FetchError, FileTooLargeError)):
            FileObject.from_url(f"{server}/{path}", allow=LOOPBACK, max_size="2 MB")
    assert done.wait(0.1) is False
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # the server's ends of the last ones
