"""msgspec's structs: the public view out, no document of a client in, the full one only where the code asks for it by name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from io import BytesIO
from typing import Any

import msgspec
import pytest
from werkzeug.datastructures import FileStorage

from filerow import FileObject, FileObjectList, storages
from filerow.exceptions import UntrustedDocumentError
from filerow.ext.msgspec import dec_hook, document_dec_hook, document_enc_hook, enc_hook, schema_hook

VIEW = {"filename", "content_type", "size", "last_modified", "metadata"}


class Report(msgspec.Struct):
    file: FileObject
    pages: FileObjectList
    others: list[FileObject] = []
    cover: FileObject | None = None


@pytest.fixture
def file() -> Iterator[FileObject]:
    """A stored file."""
    storages.clear_backends()
    storages.register_backend("memory://", key="docs")
    yield FileObject("docs", "a.txt", content=b"abc").save()
    storages.clear_backends()


@pytest.fixture
def report(file: FileObject) -> Report:
    """A struct with a file in each kind of field."""
    return Report(file, FileObjectList([file]), [file, file])


def test_only_the_public_view_goes_out(report: Report) -> None:
    shown = msgspec.json.decode(msgspec.json.encode(report, enc_hook=enc_hook))
    views = [shown["file"], *shown["pages"], *shown["others"]]
    assert len(views) == 4
    assert all(set(view) == VIEW for view in views)
    assert shown["cover"] is None
    assert msgspec.to_builtins(report, enc_hook=enc_hook) == shown


@pytest.mark.parametrize("place", ["$.file", "$.pages", "$.others[0]", "$.cover"])
def test_a_document_of_a_client_is_refused_where_it_stands(place: str, file: FileObject) -> None:
    document = file.to_dict()
    sent = {"$.file": {"file": document}, "$.pages": {"pages": [document]}, "$.others[0]": {"others": [document]}}
    body = msgspec.json.encode(sent.get(place, {"cover": document}))
    kind = msgspec.defstruct("Sent", [(next(iter(msgspec.json.decode(body))), Report.__annotations__[place[2:].strip("[0]")])],
                             namespace={"__annotations__": {}}, module=__name__)  # fmt: skip
    with pytest.raises(msgspec.ValidationError, match=r"from_upload") as refused:
        msgspec.json.decode(body, type=kind, dec_hook=dec_hook)
    assert str(refused.value).endswith(f"at `{place}`")
    assert isinstance(refused.value.__cause__, UntrustedDocumentError)


@pytest.mark.parametrize("wrong", ['"a.txt"', "5", "[]", "true", '{"filename":"a.txt"}'])
def test_nothing_else_that_json_can_say_becomes_a_file(wrong: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=FileObject, dec_hook=dec_hook)
    for hook in (dec_hook, document_dec_hook):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(f'{{"a": {wrong}}}', type=FileObjectList, dec_hook=hook)


def test_documents_pass_where_the_code_asks_for_them_by_name(report: Report) -> None:
    body = msgspec.json.encode(report, enc_hook=document_enc_hook)
    assert msgspec.json.decode(body, type=Report, dec_hook=document_dec_hook) == report
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=Report, dec_hook=dec_hook)
    with pytest.raises(msgspec.ValidationError, match="names its backend and its path"):
        msgspec.json.decode(b'{"filename":"a.txt"}', type=FileObject, dec_hook=document_dec_hook)


def test_structs_are_read_from_rows_and_have_lists_of_their_own(file: FileObject) -> None:
    class Row:
        cover = None

    row = Row()
    row.file, row.pages, row.others = file, FileObjectList([file]), FileObjectList([file])  # type: ignore[attr-defined]
    read = msgspec.convert(row, Report, from_attributes=True, dec_hook=dec_hook)
    assert read.file is file
    assert read.pages == [file]
    assert read.pages is not row.pages  # type: ignore[attr-defined]


def test_upload_parsed_by_a_framework_becomes_a_pending_file() -> None:
    form = {"file": FileStorage(BytesIO(b"abc"), "a.txt"), "pages": [FileStorage(BytesIO(b"1"), "1.txt")]}
    read = msgspec.convert(form, Report, dec_hook=dec_hook)
    assert (read.file.filename, read.file.get_content()) == ("a.txt", b"abc")
    assert [page.filename for page in read.pages] == ["1.txt"]


def test_the_schema_is_that_of_the_public_view() -> None:
    schema = msgspec.json.schema(Report, schema_hook=schema_hook)
    fields: dict[str, Any] = schema["$defs"]["Report"]["properties"]
    assert set(fields["file"]["properties"]) == set(fields["file"]["required"]) == VIEW
    assert fields["pages"]["type"] == "array"
    assert fields["pages"]["items"] == fields["others"]["items"] == fields["file"]


def test_other_types_are_left_to_other_hooks() -> None:
    with pytest.raises(NotImplementedError, match="set"):
        enc_hook({1})
    for hook in (dec_hook, document_dec_hook):
        with pytest.raises(NotImplementedError, match="date"):
            hook(date, "2024-01-01")
    with pytest.raises(NotImplementedError, match="dict"):
        schema_hook(dict[str, int])  # type: ignore[arg-type]


def test_pending_file_shows_its_public_view_without_a_document() -> None:
    pending = FileObject(filename="a.txt", content=b"abc")
    assert msgspec.to_builtins(pending, enc_hook=enc_hook)["size"] == 3
    with pytest.raises(RuntimeError, match="no document until it is stored"):
        msgspec.json.encode(pending, enc_hook=document_enc_hook)
