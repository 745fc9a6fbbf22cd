"""Stores that signed URLs are tried on: real servers, Google's rules, and our own route, each behind one ``send``."""

from __future__ import annotations

import http.client
import itertools
import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from filerow.backends.base import PutOptions, SignRequest, StorageBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import FilerowError, InvalidTokenError
from tests.backends.stores import bucket_of, s3_options

METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")
BODY = b"0123456789"
"""What is uploaded; its length is what is bound."""

SECRET = "a secret that only these tests know"
_FOLDERS = itertools.cycle(("plain/", "a b/ü+", "x~y-z_1/"))  # encoded names and plain ones are signed by others on Azure
_REPLACE = PutOptions(create_only=False)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class World(ABC):
    """A store whose signed URLs are tried.

    Attributes:
        backend: Signs.
        readers: The methods that a URL to read allows.
        ignores_strangers: It overlooks parameters that it does not know, as Azure does.
        uploads: The uploads that it can bind.
    """

    backend: StorageBackend
    readers = frozenset({"GET"})
    ignores_strangers = False
    uploads: Mapping[str, SignRequest] = {
        "upload": SignRequest("PUT", 300),
        "upload of a type": SignRequest("PUT", 300, content_type="image/png"),
        "upload of a type and length": SignRequest("PUT", 300, content_type="image/png", content_length=len(BODY)),
    }

    @abstractmethod
    def send(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Send one request, as it stands."""

    def store(self, data: bytes) -> str:
        """Store an object under a fresh path."""
        path = f"{next(_FOLDERS)}{uuid.uuid4().hex}.png"
        self.write(path, data)
        return path

    def write(self, path: str, data: bytes) -> None:
        self.backend.put(path, data, _REPLACE)

    def stored(self, path: str) -> bytes:
        """Return what is stored, past every signature."""
        return self.backend.read(path)

    def allowed(self, request: SignRequest) -> frozenset[str]:
        return self.readers if request.method == "GET" else frozenset({"PUT"})


class HTTPWorld(World):
    """A server that is asked over HTTP."""

    def send(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.netloc, timeout=30)
        try:
            connection.request(method, f"{parts.path}?{parts.query}", body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


class S3(HTTPWorld):
    """SeaweedFS, which checks signatures, times and signed headers."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        server, bucket = bucket_of(request, "s3_server")
        self.backend = ObstoreBackend("docs", f"s3://{bucket}/{uuid.uuid4().hex}", **s3_options(server))


class Proxied(HTTPWorld):
    """SeaweedFS behind nginx, by a name of its own, which the URLs are signed for."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        server, bucket = bucket_of(request, "s3_server")
        public = request.getfixturevalue("public_host").endpoint
        options = s3_options(server)
        self.backend = ObstoreBackend("docs", f"s3://{bucket}/{uuid.uuid4().hex}", public_endpoint=public, **options)


class Azure(HTTPWorld):
    """Azurite. Permission to read is permission for ``HEAD``; what is not part of a shared access signature is ignored."""

    readers = frozenset({"GET", "HEAD"})
    ignores_strangers = True
    uploads: Mapping[str, SignRequest] = {"upload": SignRequest("PUT", 300)}

    def __init__(self, request: pytest.FixtureRequest) -> None:
        server, container = bucket_of(request, "azurite_server")
        account = {"account_name": server.account_name, "account_key": server.account_key}
        self.backend = ObstoreBackend("docs", f"az://{container}/pre", endpoint=server.endpoint, **account)


class Google(World):
    """Google's rules for V4 signatures, checked with the public key: no emulator checks them."""

    uploads: Mapping[str, SignRequest] = {
        **World.uploads,
        "upload of a type and a size": SignRequest("PUT", 300, content_type="image/png", max_length=len(BODY)),
    }

    def __init__(self) -> None:
        self.key, account = service_account()
        self.objects: dict[str, bytes] = {}
        self.backend = ObstoreBackend("docs", "gs://bucket/pre", service_account_key=json.dumps(account))

    def write(self, path: str, data: bytes) -> None:
        self.objects[f"/bucket/pre/{path}"] = data

    def stored(self, path: str) -> bytes:
        return self.objects[f"/bucket/pre/{path}"]

    def send(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        parts = urlsplit(url)
        sent = {"host": parts.netloc, **{name.lower(): value for name, value in (headers or {}).items()}}
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        if not self._is_signed(method, parts.path, query, sent):
            return Answer(403, {}, b"")
        least, _, most = sent.get("x-goog-content-length-range", "0,1000000").partition(",")
        if body is not None and not int(least) <= len(body) <= int(most):
            return Answer(400, {}, b"")
        path = unquote(parts.path)
        if method == "GET":
            named = ("content-type", "content-disposition")
            return Answer(200, {name: query.get(f"response-{name}", "") for name in named}, self.objects[path])
        self.objects[path] = body or b""
        return Answer(200, {}, b"")

    def _is_signed(self, method: str, path: str, query: dict[str, str], sent: Mapping[str, str]) -> bool:
        try:
            signature = bytes.fromhex(query.pop("X-Goog-Signature"))
            names = query["X-Goog-SignedHeaders"].split(";")
            date, scope = query["X-Goog-Date"], query["X-Goog-Credential"].partition("/")[2]
            begin = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
            lifetime = int(query["X-Goog-Expires"])
            lines = "".join(f"{name}:{sent[name]}\n" for name in names)
        except (KeyError, ValueError):
            return False
        # whatever begins with x-goog- must be signed
        if {name for name in sent if name.startswith("x-goog-")} - set(names) or "host" not in names:
            return False
        asked = urlencode(sorted(query.items()), quote_via=quote, safe="")
        canonical = f"{method}\n{path}\n{asked}\n{lines}\n{';'.join(names)}\nUNSIGNED-PAYLOAD"
        text = f"GOOG4-RSA-SHA256\n{date}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        try:
            self.key.public_key().verify(signature, text.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return begin <= time.time() + 1 and time.time() < begin + lifetime <= begin + 604_800


@cache
def service_account() -> tuple[rsa.RSAPrivateKey, dict[str, str]]:
    """Return a key and the JSON that Google would hand out for it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    named = {"type": "service_account", "client_id": "1", "token_uri": "http://127.0.0.1:9/token"}
    return key, {**named, "private_key": pem, "private_key_id": "1", "client_email": "tests@example.org"}


class Own(World):
    """Our own route, as far as the URL decides; the route itself is tried in ``tests/http``."""

    readers = frozenset({"GET", "HEAD"})
    uploads: Mapping[str, SignRequest] = {
        **World.uploads,
        "upload of a type and a size": SignRequest("PUT", 300, content_type="image/png", max_length=len(BODY)),
    }

    def __init__(self) -> None:
        self.backend = MemoryBackend("docs", base_url="http://127.0.0.1/files", secret=SECRET)

    def send(self, method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        parts = urlsplit(url)
        _, _, key, path = unquote(parts.path).split("/", 3)
        assert self.backend.own_urls is not None
        try:
            assert key == "docs"
            allowed = self.backend.own_urls.verify(method, path, parts.query)
        except InvalidTokenError:
            return Answer(403, {}, b"")
        if method in {"GET", "HEAD"}:
            answer = {"content-type": allowed.content_type or "", "content-disposition": allowed.content_disposition or ""}
            return Answer(200, answer, self.stored(path))
        sent, data = (headers or {}), body or b""
        if allowed.content_type not in {None, sent.get("Content-Type")} or allowed.content_length not in {None, len(data)}:
            return Answer(400, {}, b"")
        if allowed.max_length is not None and len(data) > allowed.max_length:
            return Answer(413, {}, b"")
        self.write(path, data)
        return Answer(200, {}, b"")


def make(name: str, request: pytest.FixtureRequest) -> World:
    """Return the world of a name."""
    makers: dict[str, Any] = {
        "s3": lambda: S3(request),
        "nginx": lambda: Proxied(request),
        "azure": lambda: Azure(request),
        "google": Google,
        "own": Own,
    }
    world: World = makers[name]()
    return world


def refuses(world: World, request: SignRequest) -> str:
    """Return the message with which a backend refuses to sign."""
    with pytest.raises(FilerowError) as caught:
        world.backend.sign("a", request)
    return str(caught.value)
