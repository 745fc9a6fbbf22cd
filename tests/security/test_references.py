"""References are opened by one function only, and lead nowhere but to the file that they were made for."""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec
import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlmodel import Field, SQLModel

from filerow import FileObject, FileObjectList, StorageRegistry, StoredObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.exceptions import (
    BackendNotFoundError,
    DocumentError,
    FilerowError,
    IntegrityError,
    InvalidPathError,
    InvalidTokenError,
    ObjectNotFoundError,
)
from filerow.ext.msgspec import dec_hook, document_dec_hook
from filerow.ext.sqlmodel import file_field
from filerow.http import answer
from tests.security.hostile import INSIDE, SECRET, STRINGS, Store
from tests.security.test_entry_points import Document, commit, outcome, uses
from tests.tokens import claim_of, said_by, sealed

BASE64 = string.ascii_letters + string.digits + "-_"
RECORD = "staged/places/00000000000070008000000000000000.json"
PATH = "a/known.txt"

MEMORY = pytest.mark.parametrize("store", ["memory"], indirect=True)


def open_(text: Any, **how: Any) -> FileObject:
    return FileObject.from_reference(text, secret=SECRET, **how)


def document(**changed: Any) -> dict[str, Any]:
    return {"v": 1, "backend": "docs", "path": PATH, "filename": "a.txt", "content_type": "text/plain", **changed}


def reference(**changed: Any) -> str:
    """Return a reference that whoever holds the secret can make, whatever the library would check."""
    return sealed({"file": document(**changed)}, SECRET, purpose="reference")


@pytest.fixture
def text(store: Store) -> str:
    """A reference of a stored file."""
    store.backend.put(PATH, INSIDE)
    return FileObject("docs", to_filename=PATH, size=len(INSIDE)).to_reference(secret=SECRET)


# -- made by somebody else ---------------------------------------------------------------------------------------------------


@MEMORY
def test_no_changed_reference_is_a_reference(store: Store, text: str) -> None:
    assert open_(text).get_content() == INSIDE
    tried = ["", ".", "a.b", text * 2, f" {text}", f"{text}\n", f"{text}=", text.replace(".", ".."), text.rpartition(".")[0]]
    for place, character in enumerate(text):
        before, after = text[:place], text[place + 1 :]
        other = BASE64[BASE64.index(character) ^ 1] if character in BASE64 else "A"
        tried += [before + other + after, before + after, before + character * 2 + after]
    for one in tried:
        with pytest.raises(InvalidTokenError, match="not a reference of this application"):
            open_(one)
    for wrong in (None, 7, text.encode(), [text], {"file": text}, document()):
        with pytest.raises(InvalidTokenError):
            open_(wrong)


@MEMORY
@pytest.mark.parametrize("field", ["path", "backend", "exp", "audience"])
def test_no_field_of_a_reference_can_be_changed(store: Store, text: str, field: str) -> None:
    body, _, signature = text.rpartition(".")
    payload = json.loads(base64.urlsafe_b64decode(body + "=="))
    inner = payload["file"] if field in {"path", "backend"} else payload
    for value in ("other", "", 1e12, None):
        inner[field] = value
        forged = base64.urlsafe_b64encode(json.dumps(payload, separators=(",", ":")).encode()).rstrip(b"=").decode()
        for signed in (signature, "", "A" * 43):
            with pytest.raises(InvalidTokenError):
                open_(f"{forged}.{signed}")


@MEMORY
def test_no_token_of_another_purpose_is_a_reference(store: Store, text: str) -> None:
    ticket = DirectUploads(Document.file, secret=SECRET).begin(filename="a.txt", size=len(INSIDE), content_type="text/plain")
    url = store.backend.sign(PATH, SignRequest("GET", 60))
    query = dict(parse_qsl(urlsplit(url).query))
    same = {"file": document()}
    for other in (
        ticket.claim,
        url,
        query["signature"],
        f"{text.rpartition('.')[0]}.{query['signature']}",
        sealed(claim_of(len(INSIDE)), SECRET),
        sealed(same, SECRET, purpose="claim"),
        sealed(same, SECRET, purpose="url"),
    ):
        with pytest.raises(InvalidTokenError):
            open_(other)


@MEMORY
def test_reference_is_neither_a_claim_nor_a_signature(store: Store, text: str) -> None:
    uploads = DirectUploads(Document.file, secret=SECRET)
    for use in (
        uploads.claim,
        uploads.resume,
        uploads.abort,
        lambda token: FileObject.from_claim(token, secret=SECRET),
        lambda token: FileObject.from_claim(token, Document.file, secret=SECRET),
    ):
        with pytest.raises(InvalidTokenError):
            use(text)
    query = dict(parse_qsl(urlsplit(store.backend.sign(PATH, SignRequest("GET", 60))).query))
    for signature in (text, text.rpartition(".")[2]):
        assert answer("GET", "docs", PATH, urlencode({**query, "signature": signature})).status == 403
    assert store.backend.read(PATH) == INSIDE


# -- sent by a client --------------------------------------------------------------------------------------------------------


class Form(BaseModel):
    file: FileObject
    pages: FileObjectList = FileObjectList()


class Struct(msgspec.Struct):
    file: FileObject
    pages: FileObjectList = msgspec.field(default_factory=FileObjectList)


class Sheet(SQLModel, table=True):
    __tablename__ = "referenced_sheet"
    id: int | None = Field(default=None, primary_key=True)
    file: FileObject | None = file_field(StoredObject("docs"), default=None)


def set_attribute(value: Any) -> None:
    Document().file = value


ENTRY_POINTS: dict[str, Callable[[Any], Any]] = {
    "pydantic": lambda text: Form(file=text),
    "pydantic list": lambda text: Form(file=FileObject(content=b"x"), pages=[text]),
    "pydantic, JSON": lambda text: Form.model_validate_json(json.dumps({"file": text})),
    "pydantic, documents": lambda text: Form.model_validate({"file": text}, context={"filerow": "document"}),
    "pydantic, adapter": TypeAdapter(FileObject | None).validate_python,
    "msgspec": lambda text: msgspec.json.decode(json.dumps({"file": text}), type=Struct, dec_hook=dec_hook),
    "msgspec, documents": lambda text: msgspec.convert({"file": text}, Struct, dec_hook=document_dec_hook),
    "SQLModel": lambda text: Sheet(file=text),
    "SQLModel, validated": lambda text: Sheet.model_validate({"file": text}),
    "attribute": set_attribute,
    "constructor": lambda text: Document(file=text),
    "list": lambda text: Document(pages=[text]),
    "list, in place": lambda text: FileObjectList([text]),
    "upload": FileObject.from_upload,
    "content": lambda text: FileObject(content=text),
    "document": FileObject.from_dict,
}


@MEMORY
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_only_from_reference_takes_a_reference(store: Store, text: str, entry_point: str) -> None:
    assert open_(text).get_content() == INSIDE
    with pytest.raises((FilerowError, ValidationError, msgspec.ValidationError, TypeError)):
        ENTRY_POINTS[entry_point](text)


# -- a reference of our own that says what it should not ---------------------------------------------------------------------


@pytest.mark.parametrize("store", ["local"], indirect=True)
def test_even_a_reference_of_our_own_leads_nowhere_else(store: Store, tmp_path: Any) -> None:
    (tmp_path / "downloads").mkdir()
    for name in STRINGS:
        found = outcome(lambda name=name: open_(reference(path=store.string(name), filename=store.string(name))))  # type: ignore[misc]
        if isinstance(found, FileObject):
            store.check(*(outcome(use) for use in uses(found, tmp_path / "downloads")))
            store.check(outcome(lambda found=found: commit(found)))  # type: ignore[misc]
        else:
            assert isinstance(found, InvalidPathError | DocumentError), name
    store.check()
    assert not [path for path in tmp_path.iterdir() if path.name not in {"downloads", "store"}]


@pytest.mark.parametrize("store", ["local", "memory"], indirect=True)
@pytest.mark.parametrize("climb", ["../canary.txt", "a/../../canary.txt", "..", "a\0b", ""])
def test_a_path_that_climbs_is_refused_when_opened(store: Store, climb: str) -> None:
    with pytest.raises((InvalidPathError, DocumentError), match=r"path"):
        open_(reference(path=climb))


@MEMORY
def test_the_record_of_a_place_has_no_reference(store: Store) -> None:
    store.backend.put(RECORD, b"{}")
    with pytest.raises(InvalidPathError, match="reserved"):
        open_(reference(path=RECORD))
    with pytest.raises(InvalidPathError, match="reserved"):
        FileObject.from_dict(document(path=RECORD)).to_reference(secret=SECRET)


@MEMORY
@pytest.mark.parametrize(
    "payload",
    [{}, {"file": None}, {"file": "text"}, {"file": {"v": 99, "path": "a"}}, {"file": {"v": 1, "backend": "docs"}}, {"file": []}],
    ids=str,
)
def test_a_reference_of_another_release_is_said_to_be_one(store: Store, payload: dict[str, Any]) -> None:
    with pytest.raises(DocumentError):
        open_(sealed(payload, SECRET, purpose="reference"))


# -- confused deputies -------------------------------------------------------------------------------------------------------


@MEMORY
def test_a_backend_s_key_elsewhere_gives_no_other_file_s_bytes(store: Store, text: str) -> None:
    """Two services have a backend of the same name. Whoever opens the reference in the wrong one gets no other file's bytes."""
    storages.clear_backends()
    with pytest.raises(BackendNotFoundError, match="'docs'"):
        open_(text)
    storages.register_backend(elsewhere := MemoryBackend("docs"))
    with pytest.raises(ObjectNotFoundError):
        open_(text).get_content()
    elsewhere.put(PATH, b"another tenant's secret, of another length")
    with pytest.raises(IntegrityError):
        open_(text).get_content()


@MEMORY
def test_one_tenant_s_reference_opens_no_file_of_another(store: Store) -> None:
    """Each tenant has a registry, with a backend of the same name and a file at the same path."""
    tenants = {name: StorageRegistry() for name in ("anna", "bert")}
    texts: dict[str, str] = {}
    for name, registry in tenants.items():
        registry.register_backend(MemoryBackend("pictures")).put("logo.png", f"the logo of {name}".encode())
        with registry.active():
            file = FileObject(to_filename="logo.png")
        texts[name] = file.to_reference(audience=name, secret=SECRET)  # outside of the block, by the file's own registry
    for name, registry in tenants.items():
        with registry.active():
            found = open_(texts[name], audience=name)
            with pytest.raises(InvalidTokenError, match="another audience"):
                open_(texts["bert" if name == "anna" else "anna"], audience=name)
        assert found.get_content() == f"the logo of {name}".encode()
        assert found.backend is registry.get_backend("pictures")


@MEMORY
def test_a_service_opens_what_is_meant_for_it_only(store: Store, text: str) -> None:
    thumbs = FileObject("docs", to_filename=PATH).to_reference(audience="thumbs", secret=SECRET)
    assert open_(thumbs, audience="thumbs").get_content() == INSIDE
    for wrong, audience in ((thumbs, ""), (thumbs, "mail"), (text, "thumbs")):
        with pytest.raises(InvalidTokenError, match="another audience"):
            open_(wrong, audience=audience)


@MEMORY
def test_a_row_that_got_a_copy_never_deletes_the_original(store: Store, text: str) -> None:
    copy: Any = commit(open_(text))
    assert copy.path == PATH, "the value of the caller still names the original"
    assert store.inside() - {PATH}
    with pytest.raises(FilerowError):
        open_(text).delete()
    assert store.backend.read(PATH) == INSIDE


@MEMORY
def test_what_a_reference_says_is_readable_but_has_no_secret(store: Store, text: str) -> None:
    said = said_by(text)
    assert set(said) == {"file", "exp"}
    assert said["file"]["path"] == PATH
    assert SECRET not in json.dumps(said) + repr(open_(text))
