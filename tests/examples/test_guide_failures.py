"""A request that fails leaves nothing in the store, and takes nothing from it."""

from __future__ import annotations

import pytest

from tests.examples.applications import Application
from tests.examples.raw import Folder

STATUS = {
    "an exception": 500,
    "an answer of 404": 404,
    "an answer of 503": 503,
    "a response of 409": 409,
    "a response of 500": 500,
    "a redirect": 303,
}


@pytest.fixture(scope="module")
def seen_by_all(running_guide: Application) -> list[list[bytes]]:
    """Give the application routes that fail; collects what the store holds in the moment of each failure."""
    from tests.examples import failing

    seen: list[list[bytes]] = []
    failing.add_routes(running_guide.app, lambda: seen.append(sorted(running_guide.objects().values())))
    return seen


@pytest.fixture
def seen(seen_by_all: list[list[bytes]]) -> list[list[bytes]]:
    """What the store holds in the moment of each failure of this test."""
    seen_by_all.clear()
    return seen_by_all


@pytest.fixture
def logged_in(guide_app: Application) -> Application:
    """The guide application, for somebody who may upload."""
    answer = guide_app.client.post("/login", json={"email": "ada@example.org", "password": "difference engine"})
    assert answer.status_code == 200
    return guide_app


@pytest.mark.parametrize("flush", [False, True], ids=["before the flush", "after the flush"])
@pytest.mark.parametrize("how", STATUS)
def test_an_upload_in_a_failed_request_leaves_nothing(
    guide_app: Application, seen: list[list[bytes]], how: str, flush: bool
) -> None:
    answer = guide_app.client.post(
        "/failing",
        params={"how": how, "flush": flush},
        data={"name": "cat"},
        files={"file": ("cat.txt", b"meow")},
        follow_redirects=False,
    )

    assert answer.status_code == STATUS[how]
    assert seen == [[b"meow"] if flush else []]
    assert (guide_app.rows(), guide_app.objects()) == ([], {})


@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
@pytest.mark.parametrize("how", STATUS)
def test_a_failed_change_keeps_the_old_file(logged_in: Application, seen: list[list[bytes]], how: str, method: str) -> None:
    logged_in.create()
    before = logged_in.rows(), logged_in.objects()

    answer = logged_in.client.request(
        method,
        "/failing",
        params={"how": how, "flush": True},
        data={"name": "dog"},
        files={"file": ("dog.txt", b"woof")},
        follow_redirects=False,
    )

    assert answer.status_code == STATUS[how]
    assert seen == [[b"meow", b"woof"] if method == "PATCH" else [b"meow"]]
    assert (logged_in.rows(), logged_in.objects()) == before


def test_a_store_that_fails_fails_the_request_and_leaves_no_row(logged_in: Application) -> None:
    assert isinstance(logged_in.raw.objects, Folder)
    root = logged_in.raw.objects.root
    aside = root.rename(root.with_name("aside"))  # a disk that is not mounted

    answer = logged_in.client.post("/documents", data={"name": "cat"}, files={"file": ("cat.txt", b"meow")})

    aside.rename(root)
    assert answer.status_code >= 500
    assert (logged_in.rows(), logged_in.objects()) == ([], {})


def test_successful_request_is_committed_before_its_answer(logged_in: Application) -> None:
    for number in range(3):
        logged_in.create(f"cat {number}")
        assert len(logged_in.rows()) == len(logged_in.objects()) == number + 1
