"""Authors and books of the guide application, through services and through repositories alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from filerow import storages
from tests.examples import skip_without_guide
from tests.examples.applications import Application

pytestmark = pytest.mark.one_in(2)


@pytest.fixture(params=["", "/repositories"], ids=["services", "repositories"])
def prefix(request: pytest.FixtureRequest) -> str:
    """Where authors and books are."""
    return str(request.param)


@pytest.fixture(scope="module", params=["sqlite", "postgresql-s3"])
def running_library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Application]:
    """The guide application on this machine, and on servers."""
    skip_without_guide()
    from tests.examples import guide

    storages.clear_backends()
    if request.param == "sqlite":
        template = request.getfixturevalue("migrated_sqlite")
        started = guide.on_this_machine(tmp_path_factory.mktemp("library"), template, log_in=False)
    else:
        started = guide.on_servers(request.getfixturevalue("migrated_postgres"), request.getfixturevalue("s3_server"))
    with started as running:
        yield running
    storages.clear_backends()


@pytest.fixture
def library(running_library: Application) -> Application:
    """The guide application, with neither books nor authors."""
    running_library.raw.rows.execute("DELETE FROM book")
    running_library.raw.rows.execute("DELETE FROM author")
    return running_library


def add(app: Application, path: str, **facts: Any) -> dict[str, Any]:
    answer = app.client.post(path, json=facts)
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


def names(answer: Any, key: str = "name") -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item[key] for item in answer.json()["items"]]


def test_an_author_is_made_read_changed_and_removed(library: Application, prefix: str) -> None:
    client = library.client
    author = add(library, f"{prefix}/authors", name="Ada Lovelace", born="1815-12-10")
    url = f"{prefix}/authors/{author['id']}"

    assert author == {"id": author["id"], "name": "Ada Lovelace", "born": "1815-12-10", "books": []}
    assert client.get(url).json() == author
    assert client.patch(url, json={"name": "Augusta"}).json() == {**author, "name": "Augusta"}
    assert client.get(url).json() == {**author, "name": "Augusta"}
    assert client.delete(url).status_code == 204
    assert client.get(url).status_code == 404
    assert client.delete(url).status_code == 404


def test_a_book_shows_its_author_and_the_author_shows_the_book(library: Application, prefix: str) -> None:
    client = library.client
    ada = add(library, f"{prefix}/authors", name="Ada")
    bob = add(library, f"{prefix}/authors", name="Bob")
    book = add(library, f"{prefix}/books", title="Notes", author_id=ada["id"])
    url = f"{prefix}/books/{book['id']}"

    assert book == {"id": book["id"], "title": "Notes", "author": {"id": ada["id"], "name": "Ada"}}
    assert client.get(f"{prefix}/authors/{ada['id']}").json()["books"] == [{"id": book["id"], "title": "Notes"}]
    moved = {**book, "author": {"id": bob["id"], "name": "Bob"}}
    assert client.patch(url, json={"author_id": bob["id"]}).json() == moved
    assert client.get(url).json() == moved
    assert client.get(f"{prefix}/authors/{ada['id']}").json()["books"] == []


def test_an_author_takes_the_books_along(library: Application, prefix: str) -> None:
    author = add(library, f"{prefix}/authors", name="Ada")
    book = add(library, f"{prefix}/books", title="Notes", author_id=author["id"])

    assert library.client.delete(f"{prefix}/authors/{author['id']}").status_code == 204

    assert library.client.get(f"{prefix}/books/{book['id']}").status_code == 404


def test_a_book_of_nobody_is_refused(library: Application, prefix: str) -> None:
    answer = library.client.post(f"{prefix}/books", json={"title": "Notes", "author_id": str(uuid4())})

    assert answer.status_code == 409
    assert library.client.get(f"{prefix}/books").json()["total"] == 0


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": None}, {"name": "x" * 201}, {"name": "x", "born": "soon"}])
def test_an_author_that_makes_no_sense_is_refused(library: Application, prefix: str, body: dict[str, Any]) -> None:
    assert library.client.post(f"{prefix}/authors", json=body).status_code == 400
    assert library.client.get(f"{prefix}/authors").json()["total"] == 0


def test_lists_are_paged(library: Application, prefix: str) -> None:
    for name in ("Eve", "Ada", "Cyd", "Dee", "Bob"):
        add(library, f"{prefix}/authors", name=name)

    answer = library.client.get(f"{prefix}/authors?limit=2&offset=1")

    assert names(answer) == ["Bob", "Cyd"]
    assert {key: answer.json()[key] for key in ("limit", "offset", "total")} == {"limit": 2, "offset": 1, "total": 5}
    assert names(library.client.get(f"{prefix}/authors")) == ["Ada", "Bob", "Cyd", "Dee", "Eve"]


def test_lists_can_be_asked_for_ids(library: Application, prefix: str) -> None:
    ids = [add(library, f"{prefix}/authors", name=name)["id"] for name in ("Ada", "Bob", "Cyd")]
    url = f"{prefix}/authors"

    assert names(library.client.get(url, params={"ids": [ids[0], ids[2]]})) == ["Ada", "Cyd"]
    assert names(library.client.get(url, params={"ids": str(uuid4())})) == []
    assert library.client.get(url, params={"ids": "1"}).status_code == 400


def test_a_search_ignores_case_and_knows_no_wildcards(library: Application, prefix: str) -> None:
    author = add(library, f"{prefix}/authors", name="Ada")
    for title in ("Sketch of the Analytical Engine", "100% Notes", "1000 Notes"):
        add(library, f"{prefix}/books", title=title, author_id=author["id"])
    url = f"{prefix}/books"

    assert names(library.client.get(url, params={"searchString": "ENGINE"}), "title") == ["Sketch of the Analytical Engine"]
    assert names(library.client.get(url, params={"searchString": "0% n"}), "title") == ["100% Notes"]
    assert names(library.client.get(url, params={"searchString": "notes", "limit": 1, "offset": 1}), "title") == ["1000 Notes"]
