"""Secrets stay secret: files live a whole life with known secrets, and the tests look for these everywhere."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import re
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from filerow import FileObject, FileObjectList, storages
from filerow._tokens import Keys
from filerow.backends._foreign import clean_message, secrets_of
from filerow.backends.base import SignRequest, StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from filerow.exceptions import FilerowError
from filerow.maintenance import check, doctor, sweep
from filerow.outbox import Outbox
from tests.backends.stores import QUICK, s3_options, s3fs_options, shared
from tests.databases import explicit_begin
from tests.security.test_entry_points import Base, Document

SIGNING = "OWLU3F_ZQRLtXWA0GSjiP6yriOhZyWVd"
STORE = "TheKnownSecretOfTheStore0123456789"
PASSWORD = "the-known-password"
KEY = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo0123456789abcdefghijklmnopqrstuvwxyz+/0123456789ABCDEFA=="
SECRETS = (SIGNING, STORE, PASSWORD, KEY)

CONNECTION = f"DefaultEndpointsProtocol=http;AccountName=name;AccountKey={KEY};BlobEndpoint=http://127.0.0.1:1/name;"

CLOSED = {"aws_endpoint": "http://127.0.0.1:1", "aws_region": "us-east-1", "retry_config": QUICK}
"""A port that nobody listens at, so every call fails."""


def _s3() -> StorageBackend:
    return ObstoreBackend("one", "s3://bucket/pre", aws_access_key_id="AKID", aws_secret_access_key=STORE, **CLOSED)


def _s3_with_config() -> StorageBackend:
    options = {"aws_secret_access_key": STORE, "aws_access_key_id": "AKID", "aws_session_token": PASSWORD}
    return ObstoreBackend("one", "s3://bucket", config=options, **CLOSED)


def _in_memory(**options: str) -> MemoryFileSystem:
    return MemoryFileSystem(skip_instance_cache=True, **options)


def _azure() -> StorageBackend:
    return ObstoreBackend(
        "one", "az://box", account_name="name", account_key=KEY, endpoint="http://127.0.0.1:1", retry_config=QUICK
    )


def _local(folder: Path) -> StorageBackend:
    return LocalBackend("one", folder / "root", fsync=False, base_url="/files", secret=[SIGNING, STORE])


BACKENDS: dict[str, Callable[[Path], StorageBackend]] = {
    "s3": lambda _: _s3(),
    "s3-config": lambda _: _s3_with_config(),
    "azure": lambda _: _azure(),
    "local": _local,
    "memory": lambda _: MemoryBackend("one", base_url="/files", secret=SIGNING),
    "fsspec-memory": lambda _: FSSpecBackend("one", _in_memory(password=PASSWORD, token=STORE), prefix="/x"),
    "fsspec-sftp-like": lambda _: FSSpecBackend("one", _in_memory(passphrase=PASSWORD), prefix="/x"),
}


def no_secret(*said: object) -> None:
    for one in said:
        text = one if isinstance(one, str) else repr(one)
        for secret in SECRETS:
            assert secret not in text
            assert secret.encode().hex() not in text


@pytest.fixture
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StorageBackend]:
    storages.clear_backends()
    made = BACKENDS[request.param](tmp_path)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


EVERY = pytest.mark.parametrize("backend", BACKENDS, indirect=True)


@EVERY
def test_nothing_that_is_shown_has_a_secret(backend: StorageBackend) -> None:
    file = FileObject.from_dict({"v": 1, "backend": "one", "path": "a", "filename": "a"})
    outbox = Outbox(Base.metadata.__class__())
    uploads = DirectUploads(Document.file, secret=SIGNING)
    keys = Keys([SIGNING, STORE])
    for value in (
        backend,
        storages,
        file,
        FileObjectList([file]),
        outbox,
        uploads,
        keys,
        backend.own_urls,
        FileObject("one", content=b"x"),
    ):
        no_secret(repr(value), str(value), f"{value}", ascii(value))
    no_secret(backend.capabilities, backend.protocol, backend.key, file.to_dict(), json.dumps(file.to_dict()))


@EVERY
def test_no_pickle_and_no_copy_has_a_secret(backend: StorageBackend) -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(backend, protocol)
    with pytest.raises(TypeError, match="not pickled"):
        copy.deepcopy(backend)
    pickled = pickle.dumps(FileObject.from_dict({"v": 1, "backend": "one", "path": "a", "filename": "a"}))
    assert not any(secret.encode() in pickled for secret in SECRETS)


@EVERY
def test_no_error_has_a_secret(backend: StorageBackend) -> None:
    def failing() -> Iterator[Callable[[], Any]]:
        yield lambda: backend.put("a", b"x")
        yield lambda: backend.put("a", b"x")
        yield lambda: backend.read("missing")
        yield lambda: list(backend.list())
        yield lambda: backend.copy("missing", "b")
        yield lambda: backend.head("../a")
        yield lambda: backend.sign("a", SignRequest("GET", 1 << 40))
        yield lambda: backend.sign("a", SignRequest("PUT", 60, max_length=5))
        yield lambda: storages.register_backend(MemoryBackend("one"))
        yield lambda: storages.get_backend("nothing")
        yield lambda: backend.own_urls and backend.own_urls.verify("GET", "a", "expires=1&signature=x")

    for call in failing():
        try:
            no_secret(call())
        except FilerowError as error:
            no_secret(error, str(error), "".join(traceback.format_exception(error)))
            no_secret(*("".join(traceback.format_exception(error.__cause__)) if error.__cause__ else ()))
            no_secret(repr(pickle.dumps(str(error))), *map(repr, error.args))


@pytest.mark.parametrize(
    "make",
    [
        lambda: ObstoreBackend("one", "s3://bucket", aws_secret_access_key=STORE, nonsense=PASSWORD),
        lambda: ObstoreBackend("one", f"s3://user:{PASSWORD}@bucket/x", aws_secret_access_key=STORE, nonsense=1),
        lambda: ObstoreBackend("one", "az://box", account_name="name", account_key="not base64 " + STORE),
        lambda: ObstoreBackend("one", "gs://bucket", service_account_key='{"private_key": "' + STORE + '"}'),
        lambda: FSSpecBackend("one", f"nothing://user:{PASSWORD}@host/x"),
        lambda: Keys(["short"]),
        lambda: MemoryBackend("one", secret=PASSWORD[:10]),
    ],
)
def test_no_error_of_configuration_has_a_secret(make: Callable[[], Any]) -> None:
    with pytest.raises((ValueError, TypeError, ImportError)) as refused:
        make()
    no_secret(str(refused.value), refused.value)
    assert PASSWORD[:10] not in str(refused.value)
    assert refused.value.__cause__ is None or STORE not in repr(refused.value.__cause__)


def test_the_secrets_of_options_are_known_by_name() -> None:
    options = {
        "aws_secret_access_key": STORE, "account_key": KEY, "sas_token": STORE, "password": PASSWORD, "passwd": PASSWORD,
        "passphrase": PASSWORD, "connection_string": CONNECTION,
        "token": {"private_key": STORE}, "client_kwargs": {"aws_session_token": STORE},
    }  # fmt: skip
    for name, value in options.items():
        known = secrets_of({name: value})
        assert known, name
        said = f"400 for {value} of {KEY} and {STORE} and {PASSWORD}"
        cleaned = clean_message(said, secrets_of(options))
        no_secret(cleaned)
    assert secrets_of({"aws_access_key_id": "AKID", "region": "us-east-1", "bucket": "bucket"}) == ()
    no_secret(clean_message(f"GET https://user:{PASSWORD}@host/a?X-Amz-Signature={STORE}&sig={KEY} failed"))


@pytest.fixture
def everything_logged() -> Iterator[io.StringIO]:
    """All that is logged by anybody, at the lowest level."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s %(args)s %(exc_info)s"))
    loggers = [logging.getLogger(), logging.getLogger("filerow")]
    levels = [logger.level for logger in loggers]
    loggers[0].addHandler(handler)
    for logger in loggers:
        logger.setLevel(1)
    yield stream
    loggers[0].removeHandler(handler)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@pytest.mark.parametrize("kind", ["obstore", pytest.param("fsspec", marks=pytest.mark.thorough)])
def test_logs_and_errors_of_s3_backends_hold_no_secret(kind: str, s3_server: Any, everything_logged: io.StringIO) -> None:
    storages.clear_backends()
    where = f"{s3_server.shared_bucket}/{s3_server.make_prefix()}".rstrip("/")
    if kind == "obstore":
        storages.register_backend(ObstoreBackend("docs", f"s3://{where}", **s3_options(s3_server)))
    else:
        fs = shared(f"s3://{s3_server.shared_bucket}", **s3fs_options(s3_server)).fs
        storages.register_backend(FSSpecBackend("docs", fs, prefix=where))
    wrong = s3_options(s3_server) | {"aws_secret_access_key": STORE}
    storages.register_backend(ObstoreBackend("wrong", f"s3://{where}", **wrong))
    engine = create_engine("sqlite://", echo=False)
    explicit_begin(engine)
    Base.metadata.create_all(engine)
    said = [*_live(engine), *_fail()]
    engine.dispose()
    storages.clear_backends()
    logged = everything_logged.getvalue()
    assert "filerow" in logged
    for text in (*map(repr, said), *(line for line in logged.splitlines() if line.startswith("filerow"))):
        assert s3_server.secret_key not in text
        no_secret(text)
        assert not re.search(r"X-Amz-Signature=[0-9a-f]{8}", text) or text.startswith("'http"), text


def _live(engine: Any) -> Iterator[object]:
    uploads = DirectUploads(Document.file, secret=SIGNING)
    with Session(engine) as session:
        document = Document(file=FileObject(filename="a.txt", content=b"a"), pages=[FileObject(filename="b", content=b"b")])
        session.add(document)
        session.commit()
        document.file = FileObject(filename="c.txt", content=[b"c"])
        session.flush()
        session.rollback()
        assert document.file is not None
        yield from (document.file, document.file.copy(), document.file.to_dict(), session.scalars(select(Document)).all())
        document.file.sign()
        gone = document.file
        gone.delete(force=True)
        with pytest.raises(FilerowError):
            gone.get_content()
        yield uploads.handle("begin", {"filename": "a", "size": 1}).keys()
        yield from doctor(Base.metadata, engine)
        yield from check(Base.metadata, engine)
        session.delete(document)
        session.commit()
        yield from sweep(Base.metadata, engine, delete=True)


def _fail() -> Iterator[object]:
    wrong = storages.get_backend("wrong")
    logging.getLogger("filerow").debug("filerow: the store refuses from here on")
    for call in (
        lambda: wrong.put("a", b"x"),
        lambda: wrong.read("a"),
        lambda: list(wrong.list()),
        lambda: wrong.put("b", iter([b"x"] * 9)),
    ):
        with pytest.raises(FilerowError) as refused:
            call()
        yield "".join(traceback.format_exception(refused.value))
    yield wrong.delete(["a", "b"])


APPLICATION = """
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from filerow import FileObject, StoredObject, storages
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend

storages.register_backend(LocalBackend("docs", "files", base_url="/files", secret="{signing}"))
storages.register_backend(ObstoreBackend("cloud", "s3://bucket/x", aws_access_key_id="AKID", aws_secret_access_key="{store}",
    aws_endpoint="http://127.0.0.1:1", aws_region="x", retry_config={{"max_retries": 0}}))

class Base(DeclarativeBase):
    pass

class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    far: Mapped[FileObject | None] = mapped_column(StoredObject("cloud"))

Base.metadata.create_all(create_engine("sqlite:///app.db"))
"""


@pytest.mark.thorough
def test_command_line_shows_no_secret(tmp_path: Path) -> None:
    from tests.cli.conftest import PROGRAM, environment

    (tmp_path / "app.py").write_text(APPLICATION.format(signing=SIGNING, store=STORE))
    known = ["--app", "app:Base", "--url", "sqlite:///app.db"]
    there = environment(FILEROW_SECRET=SIGNING, FILEROW_URL=f"postgresql+psycopg://user:{PASSWORD}@127.0.0.1:1/db")
    for arguments in (
        ["doctor", *known, "--json"],
        ["doctor", "--app", "app:Base"],  # whose database is that of the environment, and cannot be reached
        ["sweep", "--help"],
        ["doctor", "--app", "app:Base", "--url", f"nosql://user:{PASSWORD}@h/d"],
        ["stats", *known, "--backend", f"cloud=s3://bucket?aws_secret_access_key={STORE}"],
    ):
        done = subprocess.run(
            [PROGRAM, *arguments], cwd=tmp_path, env=there, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.stdout + done.stderr
        no_secret(done.stdout, done.stderr)
