"""Files in pydantic models: instances come in, the public view goes out, and clients cannot send documents."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Optional

import httpx
import pytest
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, computed_field
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python
from sqlalchemy import create_engine
from sqlalchemy.dialects import sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool

from filerow import FileObject, FileObjectList, StoredObject
from filerow.backends.base import SignRequest
from filerow.exceptions import UntrustedDocumentError
from tests.file.conftest import WatchedBackend
from tests.file.rows import stored_by
from tests.frameworks import fastapi, litestar

PUBLIC = ["filename", "content_type", "size", "last_modified", "metadata"]
TRUSTED = {"filerow": "document"}


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "pydantic_document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))
    pages: Mapped[FileObjectList] = mapped_column(StoredObject("docs", multiple=True))


class DocumentOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int = 1
    file: FileObject | None
    pages: FileObjectList = Field(default_factory=FileObjectList)


class Everything(BaseModel):
    file: FileObject
    maybe: Optional[FileObject] = None  # noqa: UP045 - the old spelling is a case too
    many: list[FileObject] = []
    pages: FileObjectList = Field(default_factory=FileObjectList)
    by_name: dict[str, FileObject] = {}


@pytest.fixture
def file() -> FileObject:
    column = StoredObject("docs", public_metadata=["page", "absent"])
    return stored_by(column, FileObject("docs", "a.txt", content=b"abc", metadata={"page": 1, "files": ["a/path/of/a/server"]}))


@pytest.fixture
def everything(file: FileObject) -> Everything:
    return Everything(file=file, maybe=file, many=[file], pages=FileObjectList([file]), by_name={"x": file})


def view_of(file: FileObject) -> dict[str, Any]:
    assert file.last_modified is not None
    modified = datetime.fromtimestamp(file.last_modified, UTC).isoformat().replace("+00:00", "Z")
    shown = {name: getattr(file, name) for name in PUBLIC} | {"last_modified": modified}
    return {**shown, "metadata": {"page": 1} if file.metadata else {}}


def test_a_file_comes_in_as_it_is(file: FileObject, everything: Everything) -> None:
    assert everything.file is file
    assert everything.maybe is file
    assert everything.many[0] is file
    assert isinstance(everything.pages, FileObjectList)
    assert everything.pages[0] is file
    assert DocumentOut(file=None).file is None
    pending = FileObject(content=b"abc")
    assert Everything(file=pending).file is pending


def test_only_the_public_view_goes_out(file: FileObject, everything: Everything) -> None:
    view = view_of(file)
    expected = {"file": view, "maybe": view, "many": [view], "pages": [view], "by_name": {"x": view}}
    assert everything.model_dump(mode="json") == expected
    assert json.loads(everything.model_dump_json()) == expected
    assert list(everything.model_dump(mode="json")["file"]) == PUBLIC
    for secret in (file.path, "docs", "a/path/of/a/server", f'"{file.etag}"', file.checksum or ""):
        assert secret not in everything.model_dump_json()


def test_python_mode_keeps_files_for_other_models(file: FileObject, everything: Everything) -> None:
    kept = everything.model_dump()
    assert kept["file"] is file
    assert kept["many"][0] is file
    again = Everything(**kept)
    assert again == everything
    assert isinstance(again.pages, FileObjectList)
    assert again.file is file


@pytest.mark.parametrize("mode", ["json", "python"])
def test_include_and_exclude_reach_into_the_view(file: FileObject, everything: Everything, mode: Any) -> None:
    def dump(**chosen: Any) -> Any:
        return everything.model_dump(mode=mode, **chosen)

    assert dump(include={"file": {"filename"}}) == {"file": {"filename": "a.txt"}}
    assert dump(include={"many": {0: {"size", "metadata"}}}) == {"many": [{"size": 3, "metadata": {"page": 1}}]}
    assert dump(include={"file": {"metadata": {"page"}}}) == {"file": {"metadata": {"page": 1}}}
    assert dump(include={"file": True}, exclude={"file": {"metadata": {"page"}, "size": True}})["file"] == {
        **{name: view_of(file)[name] for name in ("filename", "content_type", "last_modified")}, "metadata": {},
    }  # fmt: skip
    assert list(dump(include={"pages"}, exclude={"pages": {"__all__": {"size"}}})["pages"][0]) == [
        name for name in PUBLIC if name != "size"
    ]


def test_exclude_none_reaches_into_the_view() -> None:
    pending = FileObject("docs", "a.bin", content=iter([b"abc"]))
    shown = DocumentOut(file=pending).model_dump(mode="json", exclude_none=True)
    assert shown["file"] == {"filename": "a.bin", "content_type": "application/octet-stream", "metadata": {}}


@pytest.mark.parametrize("context", [None, {}, {"filerow": "public"}, {"filerow": True}, {"other": "document"}, "document"])
def test_no_other_context_opens_the_document(file: FileObject, context: Any) -> None:
    adapter = TypeAdapter(FileObject)
    assert adapter.dump_python(file, mode="json", context=context) == view_of(file)
    assert adapter.dump_python(file, context=context) is file
    with pytest.raises(ValidationError):
        adapter.validate_python(file.to_dict(), context=context)


def test_metadata_is_shown_by_its_column_s_list_alone(file: FileObject) -> None:
    dump = partial(TypeAdapter(FileObject).dump_python, mode="json")
    assert dump(pickle.loads(pickle.dumps(file)))["metadata"] == {"page": 1}
    assert dump(file.replace(metadata={"page": 2, "other": 3}))["metadata"] == {"page": 2}
    assert dump(FileObject.from_dict(file.to_dict()))["metadata"] == {}
    unlisted = stored_by(StoredObject("docs"), FileObject("docs", "a.txt", content=b"abc", metadata={"page": 1}))
    assert dump(unlisted)["metadata"] == {}
    read = StoredObject("docs", public_metadata=["page"]).result_processor(sqlite.dialect(), None)
    assert read is not None
    assert dump(read(json.dumps(file.to_dict())))["metadata"] == {"page": 1}
    pages = StoredObject("docs", multiple=True, public_metadata=["page"]).result_processor(sqlite.dialect(), None)
    assert pages is not None
    assert [dump(page)["metadata"] for page in pages(json.dumps([file.to_dict()]))] == [{"page": 1}]
    for wrong in ("page", [1]):
        with pytest.raises(TypeError, match="public_metadata is a list of keys"):
            StoredObject("docs", public_metadata=wrong)  # type: ignore[arg-type]


def test_a_pending_file_shows_its_public_view() -> None:
    pending = FileObject("docs", "a.bin", content=b"abc", metadata={"page": 1})
    assert TypeAdapter(FileObject).dump_python(pending, mode="json") == {
        "filename": "a.bin", "content_type": "application/octet-stream", "size": 3, "last_modified": None,
        "metadata": {},
    }  # fmt: skip
    with pytest.raises(PydanticSerializationError, match="no document until it is stored"):
        TypeAdapter(FileObject).dump_json(pending, context=TRUSTED)


@pytest.mark.parametrize("field", ["file", "maybe", "many", "pages", "by_name"])
def test_document_from_a_client_is_refused_with_a_remedy(field: str, file: FileObject) -> None:
    document = file.to_dict()
    value = {"many": [document], "pages": [document], "by_name": {"x": document}}.get(field, document)
    for validate in (
        lambda: Everything.model_validate({"file": file, field: value}),
        lambda: Everything.model_validate_json(json.dumps({field: value})),
        lambda: Everything.model_validate_json(json.dumps({field: value}), context={"filerow": "public"}),
    ):
        with pytest.raises(ValidationError) as refused:
            validate()
        error = next(error for error in refused.value.errors() if error["loc"][0] == field)
        assert "FileObject.from_upload" in error["msg"]
        assert 'context={"filerow": "document"}' in error["msg"]
        assert isinstance(error["ctx"]["error"], UntrustedDocumentError)
        json.loads(refused.value.json())


@pytest.mark.parametrize("wrong", [view := {"filename": "a", "metadata": {}}, {}, "a/b", b"a", json.dumps(view)], ids=repr)
def test_nothing_else_a_client_sends_becomes_a_file(wrong: Any) -> None:
    with pytest.raises(ValidationError, match="from_upload"):
        TypeAdapter(FileObject).validate_python(wrong)


@pytest.mark.parametrize("wrong", [None, 3, [], FileObject], ids=repr)
def test_what_is_not_a_file_is_a_type_error(wrong: Any) -> None:
    for context in (None, TRUSTED):
        with pytest.raises(ValidationError, match="Input should be a FileObject") as refused:
            TypeAdapter(FileObject).validate_python(wrong, context=context)
        assert refused.value.errors()[0]["type"] == "file_object_type"


def test_documents_pass_where_the_code_asks_for_them(everything: Everything) -> None:
    text = everything.model_dump_json(context=TRUSTED)
    again = Everything.model_validate_json(text, context=TRUSTED)
    assert again == everything
    assert again.file.to_dict() == everything.file.to_dict()
    assert isinstance(again.pages, FileObjectList)
    assert again.file.get_content() == b"abc"
    assert Everything.model_validate(everything.model_dump(context=TRUSTED), context=TRUSTED) == everything
    assert json.loads(text)["file"] == everything.file.to_dict()


def test_a_broken_document_is_a_validation_error() -> None:
    with pytest.raises(ValidationError, match="names its backend and its path"):
        TypeAdapter(FileObject).validate_python({"v": 1}, context=TRUSTED)


class Loose(BaseModel):
    anything: Any
    mapping: dict[str, Any] = {}


def test_a_field_of_any_type_shows_the_public_view_in_an_answer(file: FileObject) -> None:
    view = TypeAdapter(FileObject).dump_python(file, mode="json")
    loose = Loose(anything=file, mapping={"files": FileObjectList([file])})
    shown = {"anything": view, "mapping": {"files": [view]}}
    assert json.loads(loose.model_dump_json(by_alias=True)) == loose.model_dump(mode="json", by_alias=True) == shown
    assert loose.model_dump()["anything"] is file
    assert json.loads(to_json([file])) == to_jsonable_python([file]) == [view]
    assert json.loads(TypeAdapter(FileObject).dump_json(file, serialize_as_any=True, by_alias=True)) == view
    assert loose.model_dump(mode="json", context=TRUSTED)["anything"] == file.to_dict()
    assert "backend" not in view
    assert "path" not in view


def test_a_field_of_any_type_sends_no_file_in_a_message(file: FileObject) -> None:
    loose = Loose(anything=[file])
    for dump in (loose.model_dump_json, partial(loose.model_dump, mode="json")):
        with pytest.raises(PydanticSerializationError, match=r"FileObject .* such as Any.*to_reference\(\)"):
            dump()


def test_attributes_can_be_looked_at_without_pydantic() -> None:
    code = (
        "import inspect, sys; sys.modules['pydantic_core'] = None\n"
        "from filerow import FileObject; inspect.getmembers(FileObject)\n"
        "assert not hasattr(FileObject(content=b'x'), '__pydantic_serializer__')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_default_that_is_not_a_file_is_shown_as_it_is() -> None:
    class Lax(BaseModel):
        file: FileObject = None  # type: ignore[assignment]

    assert Lax().model_dump() == {"file": None}


# -- JSON Schema ---------------------------------------------------------------------------------------------------------


def test_the_schema_of_what_goes_out_is_the_public_view(everything: Everything) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = Everything.model_json_schema(mode="serialization")
    file = schema["$defs"]["FileObject"]
    assert file["type"] == "object"
    assert list(file["properties"]) == file["required"] == PUBLIC
    assert file["properties"]["size"]["anyOf"] == [{"type": "integer", "minimum": 0}, {"type": "null"}]
    assert "readOnly" not in file
    assert schema["properties"]["file"] == {"$ref": "#/$defs/FileObject"}
    assert schema["properties"]["maybe"]["anyOf"] == [{"$ref": "#/$defs/FileObject"}, {"type": "null"}]
    for name in ("many", "pages"):
        assert schema["properties"][name]["items"] == {"$ref": "#/$defs/FileObject"}
    jsonschema.validate(everything.model_dump(mode="json"), schema)
    jsonschema.validate(Everything(file=FileObject(content=iter([b""]))).model_dump(mode="json"), schema)


def test_the_schema_of_what_comes_in_says_that_it_cannot() -> None:
    file = TypeAdapter(FileObject).json_schema(mode="validation")
    assert file["readOnly"] is True
    assert "multipart/form-data" in file["description"]
    assert "readOnly" not in TypeAdapter(FileObject).json_schema(mode="serialization")


# -- the ORM -------------------------------------------------------------------------------------------------------------


def test_models_are_read_from_orm_objects(docs: WatchedBackend) -> None:
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    try:
        with Session(engine) as session:
            document = Document(
                file=FileObject(filename="a.txt", content=b"abc"), pages=[FileObject(filename="1.txt", content=b"1")]
            )
            session.add_all([document, Document(id=7)])
            session.commit()
            out = DocumentOut.model_validate(document)
            assert out.file == document.file
            assert out.model_dump(mode="json")["pages"] == [view_of(document.pages[0])]
            out.pages.clear()
            assert len(document.pages) == 1, "a model does not change the row it was read from"
            assert session.is_modified(document) is False
            empty = DocumentOut.model_validate(session.get_one(Document, 7))
            assert empty.model_dump() == {"id": 7, "file": None, "pages": []}
    finally:
        engine.dispose()


class Signing(WatchedBackend):
    """A backend whose URLs are made up."""

    def _sign(self, paths: Any, request: SignRequest) -> Any:
        return [f"https://files.example/{path}?expires={request.expires_in}" for path in paths]


class Signed(BaseModel):
    file: FileObject

    @computed_field
    @property
    def url(self) -> str:
        return self.file.sign(expires_in=60)


def test_a_computed_field_signs_a_url() -> None:
    file = FileObject(Signing("signing"), "a.txt", content=b"abc")
    from filerow import storages

    storages.register_backend(Signing("signing"))
    file.save()
    assert Signed(file=file).model_dump()["url"] == f"https://files.example/{file.path}?expires=60"
    assert Signed.model_json_schema(mode="serialization")["required"] == ["file", "url"]


# -- frameworks ----------------------------------------------------------------------------------------------------------


async def answer_of(app: Any, method: str, path: str, **kwargs: Any) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        return await client.request(method, path, **kwargs)


async def test_fastapi_returns_the_public_view_and_refuses_documents(file: FileObject) -> None:
    app = fastapi.FastAPI()

    @app.get("/out", response_model=DocumentOut)
    def out() -> Any:
        return Document(id=1, file=file, pages=[file])

    @app.get("/file", response_model=FileObject)
    def alone() -> Any:
        return file

    def take(body: Any) -> Any:
        return body

    take.__annotations__ = {"body": DocumentOut, "return": DocumentOut}
    app.post("/in")(take)

    assert (await answer_of(app, "GET", "/out")).json() == {"id": 1, "file": view_of(file), "pages": [view_of(file)]}
    assert (await answer_of(app, "GET", "/file")).json() == view_of(file)
    refused = await answer_of(app, "POST", "/in", json={"file": file.to_dict()})
    assert refused.status_code == 422
    assert "from_upload" in refused.json()["detail"][0]["msg"]
    assert (await answer_of(app, "POST", "/in", json={"file": None})).json() == {"id": 1, "file": None, "pages": []}
    schemas = (await answer_of(app, "GET", "/openapi.json")).json()["components"]["schemas"]
    assert schemas["FileObject-Input"]["readOnly"] is True
    assert "readOnly" not in schemas["FileObject-Output"]


async def test_litestar_returns_the_public_view_and_refuses_documents(file: FileObject) -> None:
    def out() -> Any:
        return DocumentOut(file=file, pages=FileObjectList([file]))

    def take(data: Any) -> Any:
        return data

    out.__annotations__ = {"return": DocumentOut}
    take.__annotations__ = {"data": Annotated[DocumentOut, litestar.params.Body()], "return": DocumentOut}
    app = litestar.Litestar([litestar.get("/out", sync_to_thread=False)(out), litestar.post("/in", sync_to_thread=False)(take)])
    answer = await answer_of(app, "GET", "/out")
    assert answer.json() == {"id": 1, "file": view_of(file), "pages": [view_of(file)]}, answer.text
    refused = await answer_of(app, "POST", "/in", json={"file": file.to_dict()})
    assert refused.status_code == 400
    assert "from_upload" in refused.text
    assert (await answer_of(app, "POST", "/in", json={"file": None})).json() == {"id": 1, "file": None, "pages": []}
    assert (await answer_of(app, "GET", "/schema/openapi.json")).status_code == 200


class Listing(BaseModel):
    id: int = 1
    file: FileObject | None
    many: list[FileObject]


async def test_litestar_s_pydantic_dto_answers_with_the_public_view(file: FileObject) -> None:
    # A DTO takes models apart and leaves the rest to msgspec, so the application says how a file is shown; ext.litestar will.
    def out() -> Any:
        return Listing(file=file, many=[file])

    out.__annotations__ = {"return": Listing}
    dto = litestar.plugins.pydantic.PydanticDTO[Listing]
    show = {FileObject: partial(TypeAdapter(FileObject).dump_python, mode="json")}
    app = litestar.Litestar([litestar.get("/out", sync_to_thread=False, return_dto=dto)(out)], type_encoders=show)
    answer = await answer_of(app, "GET", "/out")
    assert answer.json() == {"id": 1, "file": view_of(file), "many": [view_of(file)]}, answer.text
