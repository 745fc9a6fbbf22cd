"""The document in the column: exactly ours, and what other libraries have left in existing tables."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from filerow import FileObject, storages
from filerow._document import Facts, facts_from, public_view, to_document
from filerow.exceptions import DocumentError, FilerowError
from tests.file.rows import loaded
from tests.frameworks import advanced_alchemy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.file.conftest import WatchedBackend

OURS: dict[str, Any] = {
    "v": 1,
    "backend": "docs",
    "path": "document/file/0199b2.png",
    "filename": "cat.png",
    "content_type": "image/png",
    "size": 123,
    "checksum": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "etag": "abc",
    "version_id": None,
    "last_modified": 1763900000.1,
    "metadata": {"page": 1, "tags": ["a"]},
}


def test_our_document_is_the_design_s_to_the_letter() -> None:
    assert FileObject.from_dict(OURS).to_dict() == OURS
    assert list(FileObject.from_dict(OURS).to_dict()) == list(OURS)
    assert FileObject.from_dict(json.dumps(OURS)).to_dict() == OURS
    assert loaded(json.dumps(OURS).encode()).to_dict() == OURS


def test_a_stored_file_s_document_has_all_of_it() -> None:
    document = FileObject("docs", "cat.txt", content=b"abc").save().to_dict()
    assert list(document) == list(OURS)
    assert json.loads(json.dumps(document)) == document
    assert (document["v"], document["backend"], document["filename"], document["size"]) == (1, "docs", "cat.txt", 3)


def test_public_view_hides_where_the_bytes_are() -> None:
    view = public_view(facts_from(OURS), ["page", "tags"])
    assert public_view(facts_from(OURS))["metadata"] == {}
    shown = {key: OURS[key] for key in ("filename", "content_type", "size", "metadata")}
    assert view == {**shown, "last_modified": "2025-11-23T12:13:20.100000Z"}
    with pytest.raises(DocumentError):
        FileObject.from_dict(view)


def test_what_is_missing_in_a_document_has_a_default() -> None:
    file = FileObject.from_dict({"v": 1, "backend": "docs", "path": "a/b"})
    assert (file.filename, file.content_type, file.size, file.metadata) == ("file", "application/octet-stream", None, {})


@pytest.mark.parametrize(
    "wrong",
    [
        "", "null", "[]", "3", '"text"', "not json", "{", b"\xff", {}, [], 3, {"v": 1}, {"v": 1, "backend": "docs"},
        {"v": 1, "path": "a"}, {"v": 1, "backend": "", "path": "a"}, {"v": 1, "backend": "docs", "path": ""},
        {"v": 1, "backend": 3, "path": "a"}, {"filename": "a"}, {"backend": "docs"}, {"upload_storage": "docs"},
        {"file_id": "x"}, {"upload_storage": "docs", "path": "docs"}, {**OURS, "metadata": [1]}, {**OURS, "metadata": "text"},
        {**OURS, "size": "3"}, {**OURS, "content_type": 5}, {**OURS, "etag": {}}, {**OURS, "checksum": 5},
        {**OURS, "last_modified": "now"}, {**OURS, "version_id": []},
    ],
    ids=repr,
)  # fmt: skip
def test_garbage_is_a_document_error(wrong: Any) -> None:
    with pytest.raises(DocumentError) as refused:
        FileObject.from_dict(wrong)
    assert isinstance(refused.value, ValueError)
    if wrong == "null":  # in a column, JSON null is not a file
        assert loaded(wrong) is None
        return
    file = loaded(wrong)
    with pytest.raises(DocumentError):
        _ = file.path


@pytest.mark.parametrize("version", [2, 99, "1", 0])
def test_a_document_of_another_version_asks_for_an_upgrade(version: Any) -> None:
    with pytest.raises(DocumentError, match="upgrade filerow"):
        FileObject.from_dict({**OURS, "v": version})


# -- Advanced Alchemy ----------------------------------------------------------------------------------------------------


@pytest.fixture
def theirs(tmp_path: Path) -> Any:
    """Advanced Alchemy's own registry, with its backend on a directory."""
    from advanced_alchemy.types.file_object.backends.obstore import ObstoreBackend

    advanced_alchemy.storages.register_backend(ObstoreBackend(key="docs", fs=f"file://{tmp_path}/"))
    yield tmp_path
    advanced_alchemy.storages.unregister_backend("docs")


def test_documents_written_by_advanced_alchemy_are_read(theirs: Path) -> None:
    written = advanced_alchemy.FileObject(
        backend="docs", filename="cat.txt", to_filename="some/where.txt", content=b"abc", metadata={"page": 1}
    ).save()
    document = json.loads(json.dumps(written.to_dict()))
    assert "path" not in document
    file = FileObject.from_dict(document)
    assert (file.backend_key, file.path, file.filename) == ("docs", "some/where.txt", "where.txt")
    assert (file.content_type, file.size, file.metadata) == ("text/plain", 3, {"page": 1})
    assert file.last_modified == written.last_modified
    assert math.isclose(file.last_modified or 0, datetime.now(UTC).timestamp(), abs_tol=60)
    storages.clear_backends()
    storages.register_backend(f"file://{theirs}", key="docs")
    assert file.get_content() == b"abc"
    file.verify()
    assert FileObject.from_dict(file.to_dict()) == file


def test_documents_of_advanced_alchemy_without_facts_are_read(theirs: Path) -> None:
    document = advanced_alchemy.FileObject(backend="docs", filename="cat.txt").to_dict()
    file = FileObject.from_dict(document)
    assert (file.path, file.size, file.checksum) == ("cat.txt", None, None)


# -- sqlalchemy-file -----------------------------------------------------------------------------------------------------

SQLALCHEMY_FILE: dict[str, Any] = {
    "content_path": None,
    "filename": "cat.png",
    "content_type": "image/png",
    "size": 3,
    "files": ["docs/2f9a1c5e-6f0c-4d3a-8f47-0c6c9e3a0001"],
    "file_id": "2f9a1c5e-6f0c-4d3a-8f47-0c6c9e3a0001",
    "upload_storage": "docs",
    "uploaded_at": "2023-11-14T22:13:20.500000",  # datetime.utcnow().isoformat()
    "path": "docs/2f9a1c5e-6f0c-4d3a-8f47-0c6c9e3a0001",
    "url": None,
    "saved": True,
}


def test_documents_of_sqlalchemy_file_are_read(docs: WatchedBackend) -> None:
    docs.put("2f9a1c5e-6f0c-4d3a-8f47-0c6c9e3a0001", b"abc")
    file = FileObject.from_dict(SQLALCHEMY_FILE)
    assert (file.backend_key, file.path) == ("docs", "2f9a1c5e-6f0c-4d3a-8f47-0c6c9e3a0001")
    assert (file.filename, file.content_type, file.size) == ("cat.png", "image/png", 3)
    assert file.last_modified == 1_700_000_000.5
    assert file.metadata == {}
    assert file.get_content() == b"abc"
    file.verify()
    assert FileObject.from_dict(file.to_dict()).to_dict() == file.to_dict()


def test_older_documents_of_sqlalchemy_file_have_only_a_path() -> None:
    document = {"path": "docs/abc", "filename": "cat.png", "saved": True, "file_id": None, "uploaded_at": "yesterday"}
    file = FileObject.from_dict(document)
    assert (file.backend_key, file.path, file.last_modified) == ("docs", "abc", None)


def test_every_error_of_a_document_is_ours() -> None:
    assert issubclass(DocumentError, FilerowError)


# -- fields of a later release -------------------------------------------------------------------------------------------


def test_unknown_fields_of_our_documents_survive() -> None:
    document = {**to_document(Facts("docs", "a/b", "cat.png")), "labels": {"thumb": 1}, "since": 7}
    facts = facts_from(document)
    assert facts.extra == {"labels": {"thumb": 1}, "since": 7}
    assert to_document(facts._replace(filename="dog.png")) == {**document, "filename": "dog.png"}


def test_unknown_fields_of_others_documents_do_not() -> None:
    document = {"backend": "docs", "path": "a/b", "filename": "cat.png", "saved": True, "url": "/srv/cat.png", "files": [1]}
    assert facts_from(document).extra == {}
