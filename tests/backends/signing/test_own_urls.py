"""URLs of our own route: what is signed, what a change of one character does, secrets and their rotation."""

from __future__ import annotations

import copy
import hmac
import logging
import pickle
import string
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from filerow import FileObject, storages
from filerow._tokens import Keys, Purpose
from filerow.backends.base import SignRequest
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.exceptions import ExpiredTokenError, InvalidOptionError, InvalidTokenError, SecretError, UnsupportedOperationError

ENVIRONMENT = "FILEROW_SECRET"
SECRET = "n0LJE1aYJwFZKc8JHzmBlbAvoHT6yEI6"
OTHER = "NRlSVxlZ-zDIx1XBeHrcEUIPdix0jNMN"
NOW = 1_800_000_000
READ = SignRequest("GET", 60, signed_at=NOW)
FULL = SignRequest("GET", 60, "attachment; filename*=UTF-8''a%20b.png", "image/png", signed_at=NOW)
UPLOAD = SignRequest("PUT", 60, None, "image/png", 10, 20, signed_at=NOW)
PATH = "docs/file/0199 ü&=.png"


def urls(backend: str = "docs", secret: Any = SECRET, *, base_url: str | None = "/files", **options: Any) -> Any:
    return MemoryBackend(backend, base_url=base_url, secret=secret, **options).own_urls


def verify(own: Any, method: str, url: str, now: float = NOW + 1) -> tuple[str, SignRequest]:
    """Check a URL as the route does: the path as the server decodes it, the query as it came."""
    parts = urlsplit(url)
    _, _, _, path = unquote(parts.path).split("/", 3)
    return path, own.verify(method, path, parts.query, now=now)


@pytest.mark.parametrize("request_", [READ, FULL, UPLOAD])
def test_what_was_signed_is_what_is_allowed(request_: SignRequest) -> None:
    url = urls().sign(PATH, request_)
    path, allowed = verify(urls(), request_.method, url)
    assert path == PATH
    assert allowed == request_._replace(expires_in=59, signed_at=None)
    assert url == urls().sign(PATH, request_)


def test_a_url_to_read_allows_head_and_an_upload_nothing_else() -> None:
    assert verify(urls(), "HEAD", urls().sign(PATH, READ))[1].method == "GET"
    for method, request_ in (("PUT", READ), ("POST", READ), ("DELETE", READ), ("GET", UPLOAD), ("HEAD", UPLOAD), ("get", READ)):
        with pytest.raises(InvalidTokenError):
            verify(urls(), method, urls().sign(PATH, request_))


def test_no_url_is_made_for_another_method_or_for_no_time() -> None:
    for method in ("DELETE", "POST", "HEAD", "get"):
        with pytest.raises(UnsupportedOperationError, match=f"not {method}"):
            urls().sign(PATH, READ._replace(method=method))  # type: ignore[arg-type]
    for seconds in (0, -1, 10**12):
        with pytest.raises(InvalidOptionError, match="must be 1 to"):
            urls().sign(PATH, READ._replace(expires_in=seconds))
    assert verify(urls(), "GET", urls().sign(PATH, READ._replace(expires_in=1)), NOW)[1].expires_in == 1


def test_where_urls_begin_can_be_asked_for() -> None:
    assert urls(base_url="https://app.example/files/").base_url == "https://app.example/files"
    assert urls(base_url=None).base_url is None


PRINTABLE = string.ascii_letters + string.digits + string.punctuation + " "


def meaning(url: str) -> tuple[str, list[tuple[str, str]]]:
    """Return what a URL says, by the standard library's reading of it."""
    parts = urlsplit(url)
    return unquote(parts.path), sorted(parse_qsl(parts.query, keep_blank_values=True))


@given(
    request_=st.sampled_from([READ, FULL, UPLOAD]),
    at=st.integers(0, 10_000),
    change=st.sampled_from(["replace", "insert", "delete", "swap"]),
    character=st.sampled_from(PRINTABLE),
)
@example(request_=READ, at=0, change="replace", character="#")
def test_changed_character_is_refused_unless_it_means_the_same(
    request_: SignRequest, at: int, change: str, character: str
) -> None:
    url = urls().sign(PATH, request_)
    first = len("/files/docs/")
    at = at % (len(url) - first) + first
    after = url[at + 1 :]
    changed = (
        url[:at]
        + {
            "replace": character + after,
            "insert": character + url[at:],
            "delete": after,
            "swap": after[:1] + url[at] + after[1:],
        }[change]
    )
    try:
        found = verify(urls(), request_.method, changed)
    except InvalidTokenError:
        return
    assert meaning(changed) == meaning(url), found


def test_a_signature_has_one_spelling() -> None:
    url = urls().sign(PATH, READ)
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = alphabet.index(url[-1])
    spellings = [url[:-1] + alphabet[last + spare] for spare in (1, 2, 3)]  # base64's last character has two bits to spare
    spellings += [f"{url}!!!!", f"{url}=", f"{url[:-1]}%21%21%21%21{url[-1]}", f"{url}%0A"]  # and others are skipped
    for changed in spellings:
        with pytest.raises(InvalidTokenError):
            verify(urls(), "GET", changed)


@pytest.mark.parametrize("more", ["expires={expires}", "signature=x&signature={signature}", "type=", "x=1", "x", ""])
def test_nothing_can_be_added_to_a_url_not_even_a_repeat(more: str) -> None:
    url = urls().sign(PATH, READ)
    more = more.format_map(dict(parse_qsl(urlsplit(url).query)))
    for changed in (f"{url}&{more}", url.replace("?", f"?{more}&")):
        with pytest.raises(InvalidTokenError):
            verify(urls(), "GET", changed)


def test_another_spelling_of_the_same_url_is_good() -> None:
    url = urls().sign(PATH, FULL)
    where, _, query = url.partition("?")
    *rest, signature = query.split("&")
    for same in (url.replace("%20", "+"), url.replace("%C3%BC", "%c3%bc"), f"{where}?{'&'.join([signature, *rest])}"):
        assert same != url
        assert verify(urls(), "GET", f"{where}?{same.partition('?')[2]}")[0] == PATH


@given(
    path=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    other=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    disposition=st.none() | st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30),
)
@example(path="a", other="a&disposition=b", disposition=None)
@example(path="a&expires=1", other="a", disposition="b&type=c")
def test_no_part_runs_into_the_next(path: str, other: str, disposition: str | None) -> None:
    request_ = SignRequest("GET", 60, disposition, signed_at=NOW)
    query = urlsplit(urls().sign(path, request_)).query
    assert urls().verify("GET", path, query, now=NOW).content_disposition == disposition
    if other != path:
        with pytest.raises(InvalidTokenError):
            urls().verify("GET", other, query, now=NOW)


@given(
    st.text(max_size=200) | st.sampled_from(["expires=1", "expires=1&signature=a", "expires=1&expires=2&signature=a", "%ff=1"])
)
def test_nonsense_is_refused(query: str) -> None:
    with pytest.raises(InvalidTokenError):
        urls().verify("GET", PATH, query)


def test_expiry_is_exact_and_nobody_loses_a_fraction_of_a_second() -> None:
    url = urls().sign(PATH, READ)
    assert verify(urls(), "GET", url, NOW + 59.9)[1].expires_in == 1
    with pytest.raises(ExpiredTokenError):
        verify(urls(), "GET", url, NOW + 60)
    assert verify(urls(), "GET", urls().sign(PATH, READ._replace(signed_at=0)), 10)[1].expires_in == 50
    late = urls().sign(PATH, SignRequest("GET", 1, signed_at=NOW + 0.9))
    assert verify(urls(), "GET", late, NOW + 1.85)


# -- whose it is -------------------------------------------------------------------------------------------------------


def test_a_url_is_for_one_backend_even_under_the_same_secret() -> None:
    query = urlsplit(urls("docs").sign(PATH, READ)).query
    with pytest.raises(InvalidTokenError):
        urls("avatars").verify("GET", PATH, query, now=NOW)


def test_url_is_not_a_claim_and_claim_is_not_a_url() -> None:
    keys = Keys(SECRET)
    url = urls().sign(PATH, READ)
    values = dict(parse_qsl(urlsplit(url).query))
    signature = values.pop("signature")
    message = f"backend=docs&path={quote(PATH, safe='').replace('%20', '+')}&expires={values['expires']}"
    assert keys.is_signature(Purpose.URL, message, signature)
    assert not keys.is_signature(Purpose.CLAIM, message, signature)
    with pytest.raises(InvalidTokenError):
        keys.unseal(Purpose.CLAIM, f"{message}.{signature}")
    for made_for, asked in ((Purpose.CLAIM, Purpose.URL), (Purpose.URL, Purpose.CLAIM)):
        with pytest.raises(InvalidTokenError):
            keys.unseal(asked, keys.seal(made_for, {"a": 1}, expires_at=NOW), now=0)
    claimed = url.replace(signature, keys.sign(Purpose.CLAIM, message))
    with pytest.raises(InvalidTokenError):
        verify(urls(), "GET", claimed)
    assert verify(urls(), "GET", url.replace(signature, keys.sign(Purpose.URL, message)))


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return real(one, other)

    url = urls().sign(PATH, READ)
    monkeypatch.setattr(hmac, "compare_digest", watched)
    verify(urls(), "GET", url)
    assert len(compared) == 1


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_secrets_rotate() -> None:
    old = urls(secret=SECRET).sign(PATH, READ)
    both = urls(secret=[OTHER, SECRET])
    assert verify(both, "GET", old)
    new = both.sign(PATH, READ)
    assert new == urls(secret=OTHER).sign(PATH, READ)  # the first signs
    assert verify(both, "GET", new)
    with pytest.raises(InvalidTokenError):
        verify(urls(secret=OTHER), "GET", old)
    with pytest.raises(InvalidTokenError):
        verify(urls(secret=SECRET), "GET", new)


def test_the_environment_may_name_several_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, " EfwrGd6dd0LXKzqly8hVUzHRYhYnph3d, u2E7LdMj26YAauK0A3sFjqFSXu2Wg0eL ")
    old = urls(secret="u2E7LdMj26YAauK0A3sFjqFSXu2Wg0eL").sign(PATH, READ)
    mine = urls(secret=None)
    assert verify(mine, "GET", old)
    assert mine.sign(PATH, READ) == urls(secret="EfwrGd6dd0LXKzqly8hVUzHRYhYnph3d").sign(PATH, READ)
    assert urls().sign(PATH, READ) != mine.sign(PATH, READ)  # an argument goes first


@pytest.mark.parametrize("secret", ["", "short", b"fifteen bytes..", [], [SECRET, "short"]])
def test_a_weak_secret_is_refused_at_startup(secret: Any, tmp_path: Path) -> None:
    makers = (lambda: MemoryBackend("m", secret=secret), lambda: LocalBackend("l", tmp_path, secret=secret))
    for make in makers:
        with pytest.raises(SecretError) as caught:
            make()
        assert "short" not in str(caught.value).replace("too short", "")


async def test_no_secret_and_no_base_url_are_said_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    with pytest.raises(SecretError, match=ENVIRONMENT):
        MemoryBackend("m", base_url="/files").sign("a", READ)
    with pytest.raises(SecretError, match="development=True"):
        await MemoryBackend("m", base_url="/files").sign_async("a", READ)
    with pytest.raises(SecretError):
        urls(secret=None).sign("a", READ)
    with pytest.raises(UnsupportedOperationError, match="base_url="):
        MemoryBackend("m", secret=SECRET).sign("a", READ)
    monkeypatch.setenv(ENVIRONMENT, "weak")
    with pytest.raises(SecretError) as caught:
        MemoryBackend("m", base_url="/files").sign("a", READ)
    assert "weak" not in str(caught.value)


def test_a_developer_s_random_secret_is_one_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    url = urls(secret=None, development=True).sign(PATH, READ)
    assert verify(urls(secret=None, development=True), "GET", url)
    code = (
        "from filerow.backends.memory import MemoryBackend; from filerow.backends.base import SignRequest; "
        "backend = MemoryBackend('docs', base_url='/files', development=True); "
        f"print(backend.sign('a', SignRequest('GET', 60, signed_at={NOW})))"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert elsewhere.startswith("/files/docs/a?")
    assert elsewhere != urls(secret=None, development=True).sign("a", READ)
    monkeypatch.setenv(ENVIRONMENT, SECRET)  # which goes before a random one
    assert urls(secret=None, development=True).sign(PATH, READ) == urls().sign(PATH, READ)


def test_secrets_are_not_shown(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv(ENVIRONMENT, OTHER)
    with pytest.raises(InvalidTokenError) as caught:
        urls().verify("GET", PATH, "expires=1&signature=x")
    shown = [repr(caught.value), caplog.text]
    for backend in (MemoryBackend("m", base_url="/f", secret=SECRET), LocalBackend("l", tmp_path, base_url="/f", secret=SECRET)):
        backend.sign("a", READ)
        shown += [repr(backend), str(backend), repr(backend.own_urls), backend.sign("a", READ)]
        for copied in (pickle.dumps, copy.deepcopy):
            with pytest.raises(TypeError, match="secrets are not pickled"):
                copied(backend.own_urls)
    assert not [text for text in shown if SECRET in text or OTHER in text]


def test_pickled_backend_finds_the_environment_s_secret_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, OTHER)
    backend = LocalBackend("l", tmp_path, base_url="/f")
    url = backend.sign("a", READ)
    pickled = pickle.dumps(backend)
    assert OTHER.encode() not in pickled
    assert pickle.loads(pickled).sign("a", READ) == url


# -- backends ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["file", "memory"])
def registered(request: pytest.FixtureRequest, tmp_path: Path) -> FileObject:
    url = f"file://{tmp_path}/files" if request.param == "file" else "memory://"
    storages.register_backend(url, key="docs", base_url="https://app.example/files/", secret=[OTHER, SECRET])
    return FileObject("docs", "ü b.txt", content=b"abc").save()


async def test_a_backend_registered_by_url_signs(registered: FileObject) -> None:
    backend = storages.get_backend("docs")
    assert backend.capabilities.sign_get
    assert backend.capabilities.sign_put
    assert backend.own_urls is not None
    for url in (registered.sign(), await registered.sign_async(), *storages.sign_many([registered])):
        assert url.startswith(f"https://app.example/files/docs/{registered.path}?expires=")
        assert backend.own_urls.verify("GET", registered.path, urlsplit(url).query).expires_in >= 3500
    shown = registered.sign(inline=True)
    disposition = backend.own_urls.verify("GET", registered.path, urlsplit(shown).query).content_disposition
    assert disposition is not None
    assert disposition.startswith("inline;")
    up = registered.sign(for_upload=True, content_type="text/plain", content_length=3, max_length=5)
    allowed = backend.own_urls.verify("PUT", registered.path, urlsplit(up).query)
    assert allowed[2:6] == (None, "text/plain", 3, 5)


async def test_many_are_signed_off_the_event_loop_and_in_order() -> None:
    backend = MemoryBackend("m", base_url="/f", secret=SECRET)
    paths = [f"a/{number}" for number in range(200)]
    assert await backend.sign_many_async(paths, READ) == [backend.sign(path, READ) for path in paths]


@pytest.mark.parametrize(
    ("key", "base_url"),
    [
        ("a/b", "/files"), ("a", "/files?x=1"), ("a", "/fi les"), ("a", "/files#x"),
        ("a", "files"), ("a", "localhost:8000/files"), ("a", "https:///files"), ("a", "ftp://app.example/files"),
    ],
)  # fmt: skip
def test_what_would_make_urls_ambiguous_is_refused_at_startup(key: str, base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        MemoryBackend(key, base_url=base_url, secret=SECRET)
    MemoryBackend(key)


@pytest.mark.parametrize("base_url", ["", "/", "/files/", "http://localhost:8000", "HTTPS://app.example/a/files"])
def test_a_route_is_mounted_at_the_root_below_it_or_elsewhere(base_url: str) -> None:
    assert urls(base_url=base_url).base_url == base_url.rstrip("/")
