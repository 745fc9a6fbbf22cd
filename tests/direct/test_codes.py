"""Why a claim is refused, in words that a program can translate: code, field, limit and actual value."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import filerow
from filerow import FileObject, storages
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.exceptions import InvalidTokenError
from filerow.http import problem
from tests.direct.conftest import PNG, SECRET, Base, Document
from tests.tokens import said_by, sealed

EXPLAINED = (Path(filerow.__file__).parents[2] / "docs" / "problems.md").read_text()
IMAGE = {"filename": "cat.png", "size": len(PNG), "content_type": "image/png"}
NO_DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def backend() -> Iterator[MemoryBackend]:
    made = MemoryBackend("direct", base_url="/files", secret=SECRET)
    storages.register_backend(made)
    yield made
    storages.clear_backends()


def begin(body: bytes | None = PNG, **changed: object) -> str:
    """Be a client; return the claim."""
    claim = DirectUploads(Document.image, secret=SECRET).begin(**(IMAGE | changed)).claim  # type: ignore[arg-type]
    if body is not None:
        storages.get_backend("direct").put(said_by(claim)["path"], body)
    return claim


@contextmanager
def database() -> Iterator[Session]:
    """An empty database."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    try:
        with Session(engine) as session:
            yield session
    finally:
        engine.dispose()


def use(claim: str) -> None:
    """Redeem a claim."""
    with database() as session:
        session.add(Document(image=DirectUploads(Document.image, secret=SECRET).claim(claim)))
        session.commit()


def use_twice() -> None:
    claim = begin()
    use(claim)
    use(claim)


def use_again_after_another_upload() -> None:
    claim = begin()
    use(claim)
    storages.get_backend("direct").put(said_by(claim)["path"], PNG)
    use(claim)


def use_what_was_replaced() -> None:
    claim = begin()
    path, backend = said_by(claim)["path"], storages.get_backend("direct")
    file = DirectUploads(Document.image, secret=SECRET).claim(claim)
    backend.delete(path)
    backend.put(path, PNG[:-1] + b"!" + PNG)
    with database() as session:
        session.add(Document(image=file))
        session.commit()


SIZES = {"limit": len(PNG), "actual": len(PNG) + 1}
REFUSED: dict[str, tuple[Callable[[], object], dict[str, object]]] = {
    "nothing uploaded": (lambda: use(begin(None)), {"code": "upload-missing", "field": "image"}),
    "another size": (lambda: use(begin(PNG + b"x")), {"code": "upload-differs", "field": "image", **SIZES}),
    "another size at the flush": (use_what_was_replaced, {"code": "upload-differs", "field": "image", "limit": len(PNG)}),
    "used": (use_twice, {"code": "claim-used", "field": "image"}),
    "used at the flush": (use_again_after_another_upload, {"code": "claim-used", "field": "image"}),
    "another column": (
        lambda: DirectUploads(Document.cover, secret=SECRET).claim(begin()),
        {"code": "claim-misplaced", "field": "cover"},
    ),
    "another column of a model": (
        lambda: FileObject.from_claim(begin(), Document.cover, secret=SECRET),
        {"code": "claim-misplaced", "field": "cover"},
    ),
    "another audience": (
        lambda: DirectUploads(Document.image, secret=SECRET, audience="b").claim(begin()),
        {"code": "claim-misplaced", "field": "image"},
    ),
    "too old": (lambda: use(sealed({}, SECRET, expires_in=-1)), {"code": "token-expired", "field": "image"}),
    "not ours": (lambda: use("a.b"), {"code": "token-invalid", "field": "image"}),
    "another checksum": (
        lambda: use(begin(checksum=NO_DIGEST)),
        {"code": "upload-differs", "field": "image", "limit": NO_DIGEST},
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_claim_says_why_for_translation(backend: MemoryBackend, case: str) -> None:
    act, facts = REFUSED[case]
    with pytest.raises(InvalidTokenError) as caught:
        act()
    again = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, again):
        reply = problem(error)
        assert isinstance(reply.body, bytes)
        document = json.loads(reply.body)
        assert {key: document.get(key) for key in facts} == facts
        assert document["detail"] == str(error)
    assert f"### {facts['code']}\n" in EXPLAINED, "the type of a problem leads to its code"
