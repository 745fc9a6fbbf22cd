"""Who may upload to the guide application: web sessions in the database, and a guard."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.examples.applications import Application
from tests.examples.raw import SQLite

EMAIL, PASSWORD = "ada@example.org", "difference engine"


def log_in(app: Application, email: str = EMAIL, password: str = PASSWORD) -> Any:
    return app.client.post("/login", json={"email": email, "password": password})


def sql(app: Application, statement: str, *values: object) -> list[Any]:
    assert isinstance(app.raw.rows, SQLite)
    with closing(sqlite3.connect(app.raw.rows.file)) as connection, connection:
        return [value for (value,) in connection.execute(statement, values)]


def sessions(app: Application) -> list[str]:
    return sql(app, "SELECT session_id FROM web_session")


def test_who_is_logged_in_is_kept_in_the_database(guide_app: Application) -> None:
    assert guide_app.client.get("/me").status_code == 401

    assert log_in(guide_app).json()["email"] == EMAIL

    assert sessions(guide_app) == [guide_app.client.cookies["session"]]
    assert guide_app.client.get("/me").json()["email"] == EMAIL
    assert guide_app.client.post("/logout").status_code == 204
    assert sessions(guide_app) == []
    assert guide_app.client.get("/me").status_code == 401


def test_the_cookie_is_of_no_use_after_the_logout(guide_app: Application) -> None:
    log_in(guide_app)
    cookie = guide_app.client.cookies["session"]
    guide_app.client.post("/logout")
    guide_app.client.cookies.clear()

    guide_app.client.cookies.set("session", cookie)

    assert guide_app.client.get("/me").status_code == 401


@pytest.mark.parametrize(
    ("email", "password"),
    [(EMAIL, "difference engines"), (EMAIL, ""), ("bob@example.org", PASSWORD), ("", "")],
    ids=["wrong password", "no password", "unknown user", "nobody"],
)
def test_a_wrong_login_opens_nothing(guide_app: Application, email: str, password: str) -> None:
    answer = log_in(guide_app, email, password)

    assert (answer.status_code, answer.json()["detail"]) == (401, "wrong email or password")
    assert sessions(guide_app) == []
    assert guide_app.client.get("/me").status_code == 401


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
def test_only_who_is_logged_in_may_change_documents(guide_app: Application, method: str) -> None:
    log_in(guide_app)
    created = guide_app.create()
    guide_app.client.cookies.clear()
    before = guide_app.rows(), guide_app.objects()
    url = "/documents" if method == "POST" else f"/documents/{created['id']}"

    answer = guide_app.client.request(method, url, data={"name": "dog"}, files={"file": ("dog.txt", b"woof")})

    assert answer.status_code == 401
    assert (guide_app.rows(), guide_app.objects()) == before
    assert guide_app.client.get("/documents").json()["total"] == 1  # reading is for all


def test_planted_id_never_becomes_the_id_of_a_login(guide_app: Application) -> None:
    guide_app.client.cookies.set("session", "planted", domain="testserver.local")

    log_in(guide_app)

    [session] = sessions(guide_app)
    assert session != "planted"
    guide_app.client.cookies.clear()
    guide_app.client.cookies.set("session", "planted")
    assert guide_app.client.get("/me").status_code == 401


def test_a_second_login_ends_the_session_of_the_first(guide_app: Application) -> None:
    sql(
        guide_app,
        "INSERT INTO user_account (id, email, password_hash, created_at, updated_at)"
        " SELECT randomblob(16), 'bob@example.org', password_hash, created_at, updated_at FROM user_account",
    )
    log_in(guide_app)
    [first] = sessions(guide_app)

    log_in(guide_app, "bob@example.org")

    [second] = sessions(guide_app)
    assert second != first
    assert guide_app.client.get("/me").json()["email"] == "bob@example.org"


def test_a_session_ends_when_it_is_too_old_or_its_user_is_gone(guide_app: Application) -> None:
    log_in(guide_app)
    sql(guide_app, "UPDATE web_session SET expires_at = ?", str(datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=1)))
    assert guide_app.client.get("/me").status_code == 401

    log_in(guide_app)
    sql(guide_app, "DELETE FROM user_account")
    assert guide_app.client.get("/me").status_code == 401


def test_visitors_who_never_log_in_leave_no_sessions(guide_app: Application) -> None:
    answer = guide_app.client.get("/documents")

    assert "set-cookie" not in answer.headers
    assert sessions(guide_app) == []


def test_passwords_are_not_in_the_database(guide_app: Application) -> None:
    [stored] = sql(guide_app, "SELECT password_hash FROM user_account")

    assert PASSWORD not in stored
    assert len(stored) > 100


def test_page_signs_in_and_out(guide_app: Application) -> None:
    client = guide_app.client
    assert 'action="/sign-in"' in client.get("/").text

    refused = client.post("/sign-in", data={"email": EMAIL, "password": "wrong"}, follow_redirects=False)
    assert refused.status_code == 422
    assert "There is no account with this email and password." in refused.text
    assert f'value="{EMAIL}"' in refused.text
    assert "wrong" not in refused.text

    there = client.post("/sign-in", data={"email": EMAIL, "password": PASSWORD}, follow_redirects=False)
    assert (there.status_code, there.headers["location"]) == (303, "/")
    assert EMAIL in client.get("/").text
    assert sessions(guide_app) == [client.cookies["session"]]

    assert client.post("/sign-out", follow_redirects=False).status_code == 303
    assert sessions(guide_app) == []
    assert 'action="/sign-in"' in client.get("/").text


@pytest.mark.parametrize("path", ["/", "/documents/{id}/replace", "/documents/{id}/delete"])
def test_form_of_somebody_logged_out_leads_to_the_login(guide_app: Application, path: str) -> None:
    log_in(guide_app)
    created = guide_app.create()
    before = guide_app.rows(), guide_app.objects()
    guide_app.client.post("/logout")

    files = {"file": ("dog.txt", b"woof")}
    answer = guide_app.client.post(path.format(**created), data={"name": "dog"}, files=files, follow_redirects=False)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    assert (guide_app.rows(), guide_app.objects()) == before
