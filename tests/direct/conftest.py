"""Stores that clients upload to, and both sides of the interface."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from filerow import FileObject, FileObjectList, StorageBackend, StoredObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads, Ticket
from filerow.exceptions import UnsupportedOperationError
from tests.backends.stores import QUICK, bucket_of, s3_options, s3fs_options, shared
from tests.direct.site import Site

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server

SECRET = "a secret of these tests, and no other"

PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000100000001008020000009091683600000000") + b"pixels" * 50
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000") + b"\0" * (len(PNG) - 20)
HTML = b"<!doctype html><script>alert(1)</script>".ljust(len(PNG))


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    image: Mapped[FileObject | None] = mapped_column(
        StoredObject("direct", max_size="1 MB", content_types=["image/png", "image/jpeg"])
    )
    cover: Mapped[FileObject | None] = mapped_column(StoredObject("direct", content_types=["image/*"]))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("direct", multiple=True, content_types=["image/png"]))
    anything: Mapped[FileObject | None] = mapped_column(StoredObject("direct", max_size="200 MB"))


Through: TypeAlias = Callable[[str], str]


class Store:
    """One backend, as an application configures it.

    Attributes:
        kind: Its name in the tests.
        backend: The backend, registered as ``direct``.
        site: The application, which answers the URLs of backends without a server.
        options: Further arguments of ``DirectUploads``.
    """

    def __init__(self, kind: str, backend: StorageBackend, site: Site, **options: Any) -> None:
        self.kind = kind
        self.backend = backend
        self.site = site
        self.options = options

    def uploads(self, column: Any = Document.image, **options: Any) -> DirectUploads:
        return DirectUploads(column, **{"secret": SECRET, **self.options, **options})

    def paths(self) -> set[str]:
        """What is stored, but for the marks of used claims."""
        return {info.path for info in self.backend.list() if not info.path.startswith("staged/claims/")}

    def marks(self) -> set[str]:
        """The marks of used claims."""
        return {info.path for info in self.backend.list("staged/claims")}


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


def s3_backend(server: S3Server, bucket: str = "", endpoint: str = "") -> ObstoreBackend:
    options = s3_options(server) | ({"aws_endpoint": endpoint} if endpoint else {})
    return ObstoreBackend("direct", f"s3://{bucket or server.shared_bucket}/{server.make_prefix()}", **options)


STORES = ["memory", "s3-post", "azure"]
EXACT_STORES = [*STORES, "local", "s3-put"]
"""With all that our own code has a part in."""
EVERY_STORE = [*EXACT_STORES, "gcs", "fsspec-s3"]
"""With a stand-in for Google that binds nothing, and with S3 through another client."""


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, site: Site, tmp_path: Path) -> Iterator[Store]:
    made = make_store(request, site, tmp_path, request.param)
    storages.register_backend(made.backend)
    yield made
    storages.clear_backends()


class SignedByTest(FSSpecBackend):
    """One whose filesystem signs no uploads, or cannot sign without an account; the test signs them."""

    def __init__(self, key: str, fs: Any, prefix: str, signed: Callable[[str, SignRequest], str]) -> None:
        super().__init__(key, fs, prefix)
        self.capabilities = self.capabilities._replace(sign_get=True, sign_put=True)
        self._signed = signed

    def _sign(self, paths: Sequence[str], request: SignRequest) -> Sequence[str]:
        if request.content_type is not None and request.method == "PUT":
            raise UnsupportedOperationError("not bound", operation="sign", backend=self.key)
        return [self._signed(self._at(path), request) for path in paths]

    def _upload_headers(self, request: SignRequest) -> dict[str, str]:
        return {"x-ms-blob-type": "BlockBlob"} if self.protocol in {"az", "abfs"} else {}


def gcsfs_store(request: pytest.FixtureRequest, site: Site, through: Through) -> Store:
    """Return a store of gcsfs on fake-gcs-server, which takes what looks signed."""
    server = request.getfixturevalue("gcs_server")
    endpoint, bucket = through(server.endpoint), bucket_of(request, "gcs_server")[1]
    fs = shared("gs://", project=server.project, token="anon", endpoint_url=endpoint).fs

    def signed(name: str, request: SignRequest) -> str:
        return f"{server.endpoint}/{quote(name)}" + ("?X-Goog-Algorithm=GOOG4-RSA-SHA256" if request.method == "PUT" else "")

    return Store("fsspec-gcs", SignedByTest("direct", fs, f"{bucket}/{uuid.uuid4().hex}", signed), site)


def adlfs_store(request: pytest.FixtureRequest, site: Site, through: Through) -> Store:
    """Return a store of adlfs on Azurite."""
    from azure.storage.blob import BlobSasPermissions, generate_blob_sas

    server, container = bucket_of(request, "azurite_server")
    string = server.connection_string.replace(server.endpoint, through(server.endpoint))
    fs = shared("az://", storage_options={"connection_string": string}).fs

    def signed(name: str, request: SignRequest) -> str:
        where, _, blob = name.partition("/")
        rights = BlobSasPermissions(read=request.method == "GET", create=request.method == "PUT")
        until = datetime.now(UTC) + timedelta(seconds=request.expires_in)
        answer = {"content_type": request.content_type, "content_disposition": request.content_disposition}
        signature = generate_blob_sas(
            server.account_name, where, blob, account_key=server.account_key, permission=rights, expiry=until, **answer
        )
        return f"{server.endpoint}/{quote(name)}?{signature}"

    return Store("fsspec-azure", SignedByTest("direct", fs, f"{container}/{uuid.uuid4().hex}", signed), site)


def directly(endpoint: str) -> str:
    return endpoint


def make_store(request: pytest.FixtureRequest, site: Site, folder: Path, kind: str, through: Through = directly) -> Store:
    """Make one.

    Args:
        request: Has the fixtures of the servers.
        site: The application.
        folder: For files.
        kind: Which.
        through: Returns the endpoint by which the backend is to reach a cloud's server.
    """
    if kind == "fsspec-gcs":
        return gcsfs_store(request, site, through)
    if kind == "fsspec-azure":
        return adlfs_store(request, site, through)
    if kind == "memory":
        return Store(kind, MemoryBackend("direct", base_url=f"{site.url}/files", secret=SECRET), site)
    if kind == "local":
        root = folder / "root"
        return Store(kind, LocalBackend("direct", root, base_url=f"{site.url}/files", secret=SECRET, fsync=False), site)
    if kind.startswith("s3"):
        backend = s3_backend(request.getfixturevalue("s3_server"))
        return Store(kind, backend, site, s3_method=kind.removeprefix("s3-").upper())
    if kind == "fsspec-s3":
        server = request.getfixturevalue("s3_server")
        options = s3fs_options(server) | {"endpoint_url": through(server.endpoint)}
        filesystem = shared(f"s3://{server.shared_bucket}", **options).fs
        return Store(kind, FSSpecBackend("direct", filesystem, prefix=f"{server.shared_bucket}/{uuid.uuid4().hex}"), site)
    if kind == "gcs":
        server = request.getfixturevalue("gcs_facade")
        endpoint = through(server.endpoint)
        options = {"service_account_key": service_account(endpoint), "base_url": endpoint}
        return Store(kind, ObstoreBackend("direct", f"gs://{server.make_bucket()}/{uuid.uuid4().hex}", **options), site)
    server = request.getfixturevalue("azurite_server")
    container = server.make_container()
    return Store(
        kind,
        ObstoreBackend(
            "direct",
            f"az://{container}/{uuid.uuid4().hex}",
            account_name=server.account_name,
            account_key=server.account_key,
            endpoint=through(server.endpoint),
            retry_config=QUICK,
        ),
        site,
    )


@functools.cache
def service_account(endpoint: str) -> str:
    """Return the key of a service account that nobody knows, as JSON."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    pem = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    facts = {"client_email": "tests@filerow.example", "private_key_id": "1", "token_uri": "", "disable_oauth": True}
    return json.dumps({**facts, "private_key": pem.decode(), "gcs_base_url": endpoint})


class Side:
    """One of the two forms that every method has."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, owner: Any, method: str, *args: Any, **options: Any) -> Any:
        if self.name == "sync":
            return getattr(owner, method)(*args, **options)

        async def awaited() -> Any:
            return await getattr(owner, f"{method}_async")(*args, **options)

        return asyncio.run(awaited())


@pytest.fixture(params=["sync", "async"])
def side(request: pytest.FixtureRequest) -> Side:
    return Side(request.param)


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as opened:
        yield opened
    engine.dispose()


def kept(session: Session, file: FileObject, column: Any = Document.image) -> FileObject:
    """Commit a new row with a file, and return it."""
    value = [file] if column.type.multiple else file
    session.add(column.class_(**{column.key: value}))
    session.commit()
    return file


Send = Callable[..., int]


@pytest.fixture
def send(tmp_path: Path) -> Send:
    """Upload as the ticket says, by curl, and return the status."""

    def call(ticket: Ticket, body: bytes, *, fields: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> int:
        if ticket.method == "POST":
            return post(tmp_path, ticket.url, dict(ticket.fields) if fields is None else fields, body)
        return put(tmp_path, ticket.url, dict(ticket.headers) if headers is None else headers, body)

    return call


def put(folder: Path, url: str, headers: dict[str, str], body: bytes, method: str = "PUT") -> int:
    given = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    return _curl("-X", method, *given, "--upload-file", str(_file(folder, body)), url)


def post(folder: Path, url: str, fields: dict[str, str], body: bytes) -> int:
    given = [part for name, value in fields.items() for part in ("--form-string", f"{name}={value}")]
    return _curl(*given, "-F", f"file=@{_file(folder, body)}", url)


def _file(folder: Path, body: bytes) -> Path:
    file = folder / "body"
    file.write_bytes(body)
    return file


def _curl(*arguments: str) -> int:
    command = ["curl", "--silent", "--show-error", "--max-time", "60", "--noproxy", "*", "-o", "/dev/null", "-w", "%{http_code}"]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    return int(done.stdout or 0)
