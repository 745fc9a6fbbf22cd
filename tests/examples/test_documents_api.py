"""The documents API is one table of cases for all three applications; afterwards we look at rows and bytes ourselves."""

from __future__ import annotations

import json

import pytest

from tests.examples.applications import Application

pytestmark = pytest.mark.one_in(2)

TOO_MUCH = 25 * 1024 * 1024 + 1


def test_created_document_is_in_the_row_the_store_and_at_its_url(application: Application) -> None:
    created = application.create("cat", b"meow", "cat.txt")

    assert created["name"] == "cat"
    assert created["file"]["filename"] == "cat.txt"
    assert created["file"]["size"] == 4
    assert not {"path", "backend", "checksum"} & set(created["file"])
    assert application.fetch(created["file_url"]).content == b"meow"
    [(name, document)] = application.rows()
    assert (name, document["backend"], document["size"]) == ("cat", "documents", 4)
    assert application.objects() == {document["path"]: b"meow"}


def test_an_empty_file_is_a_file(application: Application) -> None:
    created = application.create(content=b"")

    assert created["file"]["size"] == 0
    assert application.fetch(created["file_url"]).content == b""
    assert list(application.objects().values()) == [b""]


def test_two_files_of_one_name_keep_their_own_bytes(application: Application) -> None:
    first, second = application.create(content=b"one"), application.create(content=b"two")

    assert application.fetch(first["file_url"]).content == b"one"
    assert application.fetch(second["file_url"]).content == b"two"
    assert len(application.objects()) == 2


def test_a_list_shows_one_page_and_the_total(application: Application) -> None:
    for number in range(4):
        application.create(f"cat {number}", f"meow {number}".encode())

    page = application.client.get("/documents", params={"limit": 2, "offset": 1}).json()

    assert [item["name"] for item in page["items"]] == ["cat 1", "cat 2"]
    assert (page["limit"], page["offset"], page["total"]) == (2, 1, 4)
    assert [application.fetch(item["file_url"]).content for item in page["items"]] == [b"meow 1", b"meow 2"]


@pytest.mark.parametrize("query", ["limit=1000", "offset=-1", "limit=many", f"offset={10**30}"])
def test_a_page_that_cannot_be_is_refused(application: Application, query: str) -> None:
    assert 400 <= application.client.get(f"/documents?{query}").status_code < 500


def test_a_document_is_found_by_its_id(application: Application) -> None:
    created = application.create()

    found = application.client.get(f"/documents/{created['id']}")

    assert found.status_code == 200
    assert {key: found.json()[key] for key in ("id", "name", "file")} == {key: created[key] for key in ("id", "name", "file")}
    assert application.fetch(found.json()["file_url"]).content == b"meow"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_unknown_document_is_not_found(application: Application, method: str) -> None:
    assert application.client.request(method, f"/documents/{application.unknown_id}").status_code == 404


def test_a_file_for_an_unknown_document_leaves_nothing(application: Application) -> None:
    answer = application.client.patch(f"/documents/{application.unknown_id}", files={"file": ("cat.txt", b"meow")})

    assert answer.status_code == 404
    assert application.objects() == {}


def test_a_new_name_keeps_the_file(application: Application) -> None:
    created = application.create()
    before = application.rows()[0][1]

    # a form with a name alone is multipart only if it is made so
    changed = application.client.patch(f"/documents/{created['id']}", files={"name": (None, "tiger")})

    assert (changed.status_code, changed.json()["name"]) == (200, "tiger")
    assert application.rows() == [("tiger", before)]
    assert application.objects() == {before["path"]: b"meow"}


def test_new_file_keeps_the_name_and_replaces_the_old_bytes(application: Application) -> None:
    created = application.create()
    [(_, before)] = application.rows()

    changed = application.client.patch(f"/documents/{created['id']}", files={"file": ("tiger.txt", b"roar")})

    assert (changed.status_code, changed.json()["file"]["filename"]) == (200, "tiger.txt")
    [(name, document)] = application.rows()
    assert name == "cat"
    assert document["path"] != before["path"]
    assert application.objects() == {document["path"]: b"roar"}
    assert application.fetch(changed.json()["file_url"]).content == b"roar"
    assert application.fetch(created["file_url"]).status_code == 404


def test_name_and_file_change_together(application: Application) -> None:
    created = application.create()

    changed = application.client.patch(
        f"/documents/{created['id']}", data={"name": "tiger"}, files={"file": ("tiger.txt", b"roar")}
    )

    assert changed.status_code == 200
    [(name, document)] = application.rows()
    assert name == "tiger"
    assert application.objects() == {document["path"]: b"roar"}


@pytest.mark.parametrize(
    ("data", "files"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"other": "x"}, {"else": ("cat.txt", b"meow")}, id="other fields"),
        pytest.param({"name": "x" * 201}, {"file": ("cat.txt", b"meow")}, id="too long a name"),
    ],
)
def test_a_change_that_makes_no_sense_changes_nothing(
    application: Application, data: dict[str, str], files: dict[str, tuple[str, bytes]]
) -> None:
    created = application.create()
    before = application.rows(), application.objects()

    answer = application.client.patch(f"/documents/{created['id']}", data=data, files=files)

    assert 400 <= answer.status_code < 500
    assert (application.rows(), application.objects()) == before


def test_a_deleted_document_takes_its_bytes_along(application: Application) -> None:
    kept, deleted = application.create(content=b"kept"), application.create(content=b"deleted")

    assert application.client.delete(f"/documents/{deleted['id']}").status_code == 204

    [(_, document)] = application.rows()
    assert application.objects() == {document["path"]: b"kept"}
    assert application.fetch(deleted["file_url"]).status_code == 404
    assert application.client.delete(f"/documents/{deleted['id']}").status_code == 404
    assert application.fetch(kept["file_url"]).content == b"kept"


@pytest.mark.parametrize(
    ("data", "files"),
    [
        pytest.param({"name": "cat"}, {"other": ("cat.txt", b"meow")}, id="no file"),
        pytest.param({}, {"file": ("cat.txt", b"meow")}, id="no name"),
        pytest.param({"name": ""}, {"file": ("cat.txt", b"meow")}, id="an empty name"),
        pytest.param({"name": "x" * 201}, {"file": ("cat.txt", b"meow")}, id="too long a name"),
        pytest.param({"name": "cat", "file": "meow"}, {"other": ("cat.txt", b"meow")}, id="text for a file"),
    ],
)
def test_an_incomplete_document_leaves_nothing(
    application: Application, data: dict[str, str], files: dict[str, tuple[str, bytes]]
) -> None:
    answer = application.client.post("/documents", data=data, files=files)

    assert 400 <= answer.status_code < 500
    assert (application.rows(), application.objects()) == ([], {})


def test_a_file_over_the_limit_is_refused_and_leaves_nothing(application: Application) -> None:
    answer = application.client.post("/documents", data={"name": "whale"}, files={"file": ("whale", bytes(TOO_MUCH))})

    assert answer.status_code == 413
    assert (application.rows(), application.objects()) == ([], {})


def test_a_client_cannot_claim_a_file_by_sending_its_document(application: Application) -> None:
    application.create()
    [(_, document)] = application.rows()

    answer = application.client.post(
        "/documents", data={"name": "thief"}, files={"file": (None, json.dumps(document), "application/json")}
    )

    assert 400 <= answer.status_code < 500
    assert len(application.rows()) == 1


def test_a_hostile_filename_is_only_shown(application: Application) -> None:
    created = application.create(filename="../../../etc/pass\u202ewd.txt", content=b"<script>alert(1)</script>")

    assert "/" not in created["file"]["filename"]
    assert "\u202e" not in created["file"]["filename"]
    [(path, content)] = application.objects().items()
    assert path == application.rows()[0][1]["path"]
    assert path.startswith("document/file/")
    assert content == b"<script>alert(1)</script>"


def test_a_changed_url_opens_nothing(application: Application) -> None:
    first, second = application.create(content=b"one"), application.create(content=b"two")
    path_of = {document["path"]: content for document, content in zip(
        (document for _, document in application.rows()), application.objects().values(), strict=True
    )}  # fmt: skip
    one, two = sorted(path_of)
    stolen = first["file_url"].replace(one, two) if one in first["file_url"] else first["file_url"].replace(two, one)

    assert stolen != first["file_url"]
    assert application.fetch(stolen).status_code == 403
    assert application.fetch(second["file_url"]).status_code == 200
