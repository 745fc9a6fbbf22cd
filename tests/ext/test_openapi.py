"""What the frameworks' OpenAPI documents say of files: bytes on the way in, the public view on the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.ext.conftest import Site

pytestmark = pytest.mark.parametrize("served", ["litestar", "fastapi"], indirect=True)  # those that write such a document

VIEW = {"filename", "content_type", "size", "last_modified", "metadata"}


@pytest.fixture
def document(site: Site) -> dict[str, Any]:
    """The application's OpenAPI document."""
    where = {"litestar": "/schema/openapi.json", "fastapi": "/openapi.json"}[site.framework]
    answer = site.client.get(where)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and the one alternative that is not null."""
    if "$ref" in schema:
        return resolved(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    for word in ("anyOf", "oneOf"):
        if word in schema:
            [schema] = [choice for choice in schema[word] if choice.get("type") != "null"]
            return resolved(document, schema)
    return schema


def is_bytes(schema: dict[str, Any]) -> bool:
    return schema["type"] == "string" and schema.get("contentMediaType") == "application/octet-stream"


def test_a_file_goes_in_as_a_binary_field_of_a_multipart_body(document: dict[str, Any]) -> None:
    body = document["paths"]["/documents"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data"}
    form = resolved(document, body["multipart/form-data"]["schema"])
    assert {"name", "file"} <= set(form["required"])
    assert "pages" not in form["required"]
    assert is_bytes(resolved(document, form["properties"]["file"]))
    pages = resolved(document, form["properties"]["pages"])
    assert pages["type"] == "array"
    assert is_bytes(resolved(document, pages["items"]))


def test_a_file_comes_out_as_its_public_view(document: dict[str, Any]) -> None:
    [answer] = [said for path, said in document["paths"].items() if path == "/documents/{document}"]
    schema = resolved(document, answer["get"]["responses"]["200"]["content"]["application/json"]["schema"])
    view = resolved(document, schema["properties"]["file"])
    assert set(view["properties"]) == set(view["required"]) == VIEW
    assert schema["properties"]["pages"]["items"] == {"$ref": "#/components/schemas/FileObject"}


def test_a_stored_file_is_bytes(document: dict[str, Any]) -> None:
    [answer] = [said for path, said in document["paths"].items() if path.endswith("{way}")]
    content = answer["get"]["responses"]["200"]["content"]
    assert set(content) == {"application/octet-stream"}
    assert content["application/octet-stream"].get("schema", {}).get("type", "string") == "string"


def test_routes_of_signed_urls_and_uploads_stay_out_of_openapi(document: dict[str, Any]) -> None:
    assert not [path for path in document["paths"] if path.startswith(("/files", "/uploads"))]
