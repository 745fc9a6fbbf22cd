"""A field of a model that shows its file with a signed URL."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from filerow import FileObject, FileObjectList, storages
from filerow.backends.memory import MemoryBackend
from filerow.ext.pydantic import SignedUrl

VIEW = {"filename", "content_type", "size", "last_modified", "metadata", "url"}


class Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    file: Annotated[FileObject, SignedUrl(expires_in=60, inline=True)]
    cover: Annotated[FileObject, SignedUrl()] | None = None
    pages: list[Annotated[FileObject, SignedUrl()]] = []
    plain: FileObject | None = None


class Row:
    """What a row looks like to a model."""

    def __init__(self, file: FileObject) -> None:
        self.file = self.cover = self.plain = file
        self.pages = FileObjectList([file, file])


@pytest.fixture
def file() -> Iterator[FileObject]:
    """A stored file that can be signed."""
    storages.clear_backends()
    storages.register_backend(
        MemoryBackend("docs", base_url="https://example.org/files", secret="EvOKdnJvzJQNuISvPF6DstAWyVIvoFtO")
    )
    yield FileObject("docs", "a.txt", content=b"abc").save()
    storages.clear_backends()


def test_public_view_has_a_url_where_the_model_asks_for_one(file: FileObject) -> None:
    shown = Shown.model_validate(Row(file)).model_dump(mode="json")
    for view in (shown["file"], shown["cover"], *shown["pages"]):
        assert set(view) == VIEW
        assert view["url"].startswith(f"https://example.org/files/docs/{file.path}?")
    assert set(shown["plain"]) == VIEW - {"url"}
    assert Shown(file=file).model_dump()["cover"] is None


def test_the_url_is_bound_as_the_field_says(file: FileObject) -> None:
    class Stable(BaseModel):
        file: Annotated[FileObject, SignedUrl(round_expiry=3600)]

    def urls(model: BaseModel) -> set[str]:
        return {model.model_dump(mode="json")["file"]["url"] for _ in range(2)}

    assert urls(Stable(file=file)) == {file.sign(round_expiry=3600)}
    assert urls(Shown(file=file)) != urls(Stable(file=file))


def test_documents_pass_only_where_the_code_asks_for_them(file: FileObject) -> None:
    trusted = {"filerow": "document"}
    model = Shown.model_validate(Row(file))
    text = model.model_dump_json(context=trusted)
    assert '"url"' not in text
    assert Shown.model_validate_json(text, context=trusted) == model
    with pytest.raises(ValidationError, match="from_upload"):
        Shown.model_validate_json(text)
    with pytest.raises(ValidationError, match="from_upload"):
        Shown.model_validate_json(model.model_dump_json())  # nor what a client was shown


def test_a_pending_file_has_no_url(file: FileObject) -> None:
    with pytest.raises(PydanticSerializationError, match="not stored yet"):
        Shown(file=FileObject(content=b"abc")).model_dump(mode="json")


@pytest.mark.parametrize("kind", [FileObject | None, FileObjectList, list[FileObject], str], ids=str)
def test_it_belongs_to_the_file_itself(kind: Any) -> None:
    with pytest.raises(TypeError, match=r"Annotated\[FileObject, SignedUrl\(\)\] \| None"):
        type("Wrong", (BaseModel,), {"__annotations__": {"file": Annotated[kind, SignedUrl()]}, "__module__": __name__})


async def test_openapi_has_the_url_and_leaves_other_files_alone(file: FileObject) -> None:
    app = FastAPI()

    @app.get("/")
    def read() -> Shown:
        return Shown.model_validate(Row(file))

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        shown = (await client.get("/")).json()
        schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]
    assert set(shown["file"]) == VIEW
    fields = schemas["Shown"]["properties"]
    for signed in (fields["file"], fields["cover"]["anyOf"][0], fields["pages"]["items"]):
        assert set(signed["properties"]) == set(signed["required"]) == VIEW
    assert fields["plain"]["anyOf"][0] == {"$ref": "#/components/schemas/FileObject"}
    assert set(schemas["FileObject"]["properties"]) == VIEW - {"url"}
