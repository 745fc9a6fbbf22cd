"""Signed URLs and claims cannot be made, changed, lengthened, or used for something else; and comparing them reveals nothing.

Expiry, rotation and most changes of single fields are in ``tests/backends/signing/test_own_urls.py`` and
``tests/direct/test_claims.py``.
"""

from __future__ import annotations

import ast
import base64
import hmac
import json
import string
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

import filerow
from filerow import FileObject, storages
from filerow._tokens import Keys, Purpose
from filerow.backends.base import SignRequest
from filerow.backends.memory import MemoryBackend
from filerow.direct import DirectUploads
from filerow.direct._claims import Claim
from filerow.exceptions import ClaimError, ExpiredTokenError, InvalidTokenError
from filerow.http import answer
from filerow.variants import Thumbnail
from tests.security.hostile import INSIDE, SECRET, Store
from tests.security.test_entry_points import Document, commit
from tests.tokens import said_by

pytestmark = pytest.mark.parametrize("store", ["memory"], indirect=True)

OLD, NEW = "gDfLbx0_wDqMuPYZt-iFn7Eq-hkWGqEV" * 2, "k8BaEOsIe3c7taNf-DJZZMuOkCp-AXfP" * 2
BASE64 = string.ascii_letters + string.digits + "-_"
NOW = 1_800_000_000.0


def claim(**changed: Any) -> Claim:
    whole = Claim("docs", "up", "target", "document.file", "a.txt", len(INSIDE), "text/plain", None, {}, time.time() + 600)
    return whole._replace(**changed)


def changes(token: str) -> list[str]:
    """Return a token with each of its characters changed: to another letter, in case, dropped, doubled."""
    found = []
    for place, character in enumerate(token):
        before, after = token[:place], token[place + 1 :]
        other = BASE64[BASE64.index(character) ^ 1] if character in BASE64 else "A"
        found += [before + other + after, before + after, before + character * 2 + after, before + character.swapcase() + after]
    return [one for one in found if one != token]


def test_no_changed_claim_is_a_claim(store: Store) -> None:
    keys = Keys(SECRET)
    token = claim().seal(keys)
    tried = [
        *changes(token),
        token + "=",
        token + " ",
        " " + token,
        token + "\n",
        token.replace(".", ".."),
        "",
        ".",
        "a.b",
        token * 2,
    ]
    for one in tried:
        with pytest.raises(InvalidTokenError):
            Claim.unseal(keys, one)
    for wrong in (None, 7, token.encode(), [token], {"claim": token}):
        with pytest.raises(InvalidTokenError):
            Claim.unseal(keys, wrong)  # type: ignore[arg-type]
    assert Claim.unseal(keys, token) == claim(expires_at=Claim.unseal(keys, token).expires_at)


@pytest.mark.parametrize("field", Claim._fields)
def test_no_field_of_a_claim_can_be_changed_without_the_secret(store: Store, field: str) -> None:
    text, _, signature = claim().seal(Keys(SECRET)).rpartition(".")
    payload = json.loads(base64.urlsafe_b64decode(text + "=="))
    for value in ("other", 1, None, 1e12, {"max_size": 1 << 60}, True):
        forged = json.dumps({**payload, "exp" if field == "expires_at" else field: value}, separators=(",", ":"), sort_keys=True)
        sealed = base64.urlsafe_b64encode(forged.encode()).rstrip(b"=").decode()
        if sealed == text:
            continue
        for signed in (signature, "", "A" * 43, Keys(NEW).sign(Purpose.CLAIM, sealed)):
            with pytest.raises(InvalidTokenError):
                Claim.unseal(Keys(SECRET), f"{sealed}.{signed}")


def test_no_other_algorithm_is_believed(store: Store) -> None:
    """There is nothing in a token that says how to check it; so what other libraries sign with the same secret is noise."""
    from itsdangerous import Signer, TimestampSigner, URLSafeSerializer

    payload = {**claim()._asdict(), "exp": time.time() + 600}
    header = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    body = base64.urlsafe_b64encode(json.dumps(payload, default=str).encode()).rstrip(b"=").decode()
    for forged in (
        f"{header}.{body}.",
        f"{header}.{body}",
        f"{body}.",
        URLSafeSerializer(SECRET).dumps(payload),
        URLSafeSerializer(SECRET, salt=Purpose.CLAIM.value).dumps(payload),
        Signer(SECRET, salt=Purpose.CLAIM.value).sign(body).decode(),  # SHA-1, another derivation
        TimestampSigner(SECRET, salt=Purpose.CLAIM.value).sign(body).decode(),
        f"{body}.{base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), body.encode(), 'sha256')).rstrip(b'=').decode()}",
    ):
        with pytest.raises(InvalidTokenError):
            Claim.unseal(Keys(SECRET), forged)


def test_what_was_signed_for_one_purpose_is_noise_for_another(store: Store) -> None:
    keys = Keys(SECRET)
    for purpose in Purpose:
        for other in Purpose:
            assert keys.is_signature(other, "message", keys.sign(purpose, "message")) is (purpose is other)
            token = keys.seal(purpose, {"a": 1}, expires_at=time.time() + 60)
            if purpose is not other:
                with pytest.raises(InvalidTokenError):
                    keys.unseal(other, token)
    urls: Any = store.backend.own_urls
    query = dict(parse_qsl(urlsplit(store.backend.sign("up", SignRequest("GET", 60))).query))
    sealed = claim().seal(keys)
    with pytest.raises(InvalidTokenError):
        Claim.unseal(keys, f"{urls._message('up', query)}.{query['signature']}")
    with pytest.raises(InvalidTokenError):
        urls.verify("GET", "up", urlencode({**query, "signature": sealed.rpartition(".")[2]}))
    for method in ("PUT", "POST", "DELETE", "put", ""):
        with pytest.raises(InvalidTokenError):
            urls.verify(method, "up", urlencode(query))
        with pytest.raises(InvalidTokenError):
            urls.verify(method, "up", urlencode({**query, "method": method}))
    upload = dict(parse_qsl(urlsplit(store.backend.sign("up", SignRequest("PUT", 60))).query))
    for method in ("GET", "HEAD"):
        with pytest.raises(InvalidTokenError):
            urls.verify(method, "up", urlencode(upload))
        with pytest.raises(InvalidTokenError):
            urls.verify(method, "up", urlencode({name: value for name, value in upload.items() if name != "method"}))


def test_token_is_for_one_column_one_backend_one_application(store: Store) -> None:
    store.backend.put("up", INSIDE)
    other = MemoryBackend("other", base_url="/files", secret=SECRET)
    url = urlsplit(store.backend.sign("up", SignRequest("GET", 60))).query
    with pytest.raises(InvalidTokenError):
        other.own_urls.verify("GET", "up", url)
    with pytest.raises(InvalidTokenError):
        MemoryBackend("docs", base_url="/files", secret=NEW).own_urls.verify("GET", "up", url)
    sealed = claim().seal(Keys(SECRET))
    with pytest.raises(ClaimError, match=r"for document\.file"):
        DirectUploads(Document.pages, secret=SECRET).claim(sealed)
    with pytest.raises(ClaimError, match=r"for document\.file"):
        FileObject.from_claim(sealed, Document.pages, secret=SECRET)
    with pytest.raises(InvalidTokenError):
        DirectUploads(Document.file, secret=NEW).claim(sealed)
    assert [info.path for info in store.backend.list()] == ["up"]
    commit(DirectUploads(Document.file, secret=SECRET).claim(sealed))
    assert "target" in {info.path for info in store.backend.list()}


def test_a_claim_is_for_the_audience_that_it_was_made_for(store: Store) -> None:
    """Two deployments, tenants or databases may share a secret, a backend and a table's name."""
    audiences = {name: DirectUploads(Document.file, secret=SECRET, audience=name) for name in ("", "staging", "production")}
    for name, uploads in audiences.items():
        ticket = uploads.begin(filename="a.txt", size=len(INSIDE), content_type="text/plain")
        store.backend.put(said_by(ticket.claim)["path"], INSIDE)
        for other in audiences.keys() - {name}:
            for use in (audiences[other].claim, audiences[other].resume, audiences[other].abort):
                with pytest.raises(ClaimError, match="another audience") as caught:
                    use(ticket.claim)
                assert (caught.value.code, caught.value.field) == ("claim-misplaced", "file")
            for column in (Document.file, None):
                with pytest.raises(ClaimError, match="another audience"):
                    FileObject.from_claim(ticket.claim, column, secret=SECRET, audience=other)
        assert FileObject.from_claim(ticket.claim, secret=SECRET, audience=name).size == len(INSIDE)
        assert commit(uploads.claim(ticket.claim)).get_content() == INSIDE


def test_an_audience_is_a_text(store: Store) -> None:
    with pytest.raises(TypeError, match="audience must be a string"):
        DirectUploads(Document.file, secret=SECRET, audience=None)  # type: ignore[arg-type]


def test_claim_is_used_once_even_when_its_file_is_gone(store: Store) -> None:
    store.backend.put("up", INSIDE)
    uploads = DirectUploads(Document.file, secret=SECRET)
    sealed = claim().seal(Keys(SECRET))
    file = commit(uploads.claim(sealed))
    for again in (False, True):
        for use in (uploads.claim, lambda token: FileObject.from_claim(token, Document.file, secret=SECRET)):
            with pytest.raises(ClaimError):
                commit(use(sealed))
        store.backend.delete("up")
        store.backend.put("up", INSIDE)  # the client's URL is still good
        if again:
            file.delete(force=True)
    with pytest.raises(ClaimError):
        commit(uploads.claim(sealed))


def test_a_removed_secret_is_refused_and_an_old_one_only_checks(store: Store) -> None:
    old, both, new = Keys(OLD), Keys([NEW, OLD]), Keys([NEW])
    for purpose in Purpose:
        assert both.is_signature(purpose, "m", old.sign(purpose, "m"))
        assert both.sign(purpose, "m") == new.sign(purpose, "m")
        assert not new.is_signature(purpose, "m", old.sign(purpose, "m"))
        assert not old.is_signature(purpose, "m", both.sign(purpose, "m"))
    assert Claim.unseal(both, claim().seal(old)).path == "up"
    with pytest.raises(InvalidTokenError):
        Claim.unseal(new, claim().seal(old))


@pytest.mark.parametrize(("late", "good"), [(-1.0, True), (-0.001, True), (0.0, False), (0.001, False), (1e9, False)])
def test_a_token_ends_at_its_second(store: Store, late: float, good: bool) -> None:
    keys = Keys(SECRET)
    token = keys.seal(Purpose.CLAIM, {"a": 1}, expires_at=NOW)
    query = urlsplit(store.backend.sign("up", SignRequest("GET", 60, signed_at=NOW - 60))).query
    if good:
        assert keys.unseal(Purpose.CLAIM, token, now=NOW + late)["a"] == 1
        assert store.backend.own_urls.verify("GET", "up", query, now=NOW + late)
        return
    with pytest.raises(ExpiredTokenError):
        keys.unseal(Purpose.CLAIM, token, now=NOW + late)
    with pytest.raises(ExpiredTokenError):
        store.backend.own_urls.verify("GET", "up", query, now=NOW + late)


def test_no_part_of_a_url_can_be_changed(store: Store) -> None:
    request = SignRequest("PUT", 60, content_type="image/png", max_length=100)
    pairs = parse_qsl(urlsplit(store.backend.sign("up", request)).query)
    urls = store.backend.own_urls
    urls.verify("PUT", "up", urlencode(pairs))
    forged: list[list[tuple[str, str]]] = [
        [*pairs, ("signature", "A" * 43)],
        [*pairs, ("x", "1")],
        [*pairs, ("length", "5")],
        pairs * 2,
    ]
    for place, (name, value) in enumerate(pairs):
        rest = [*pairs[:place], *pairs[place + 1 :]]
        forged.append(rest)
        forged += [
            [*rest, (name, other)] for other in (value + "0", "0" + value, " " + value, value[:-1], "", value.swapcase() + "x")
        ]
    for one in forged:
        with pytest.raises(InvalidTokenError):
            urls.verify("PUT", "up", urlencode(one))
    for path in ("Up", "up/", "/up", "up%00", "u%70", "./up", "up/../up"):
        with pytest.raises(InvalidTokenError):
            urls.verify("PUT", path, urlencode(pairs))
    for signature in changes(dict(pairs)["signature"]):
        with pytest.raises(InvalidTokenError):
            urls.verify("PUT", "up", urlencode({**dict(pairs), "signature": signature}))


def test_no_part_of_the_url_of_a_variant_can_be_changed(store: Store) -> None:
    photo = FileObject(store.backend, "a.jpg", content=b"\xff\xd8\xff no image").save()
    pairs = dict(parse_qsl(urlsplit(photo.variant(Thumbnail(20, 20)).sign(download_as="a.webp")).query))
    key = store.backend.key
    assert set(pairs) == {"v", "expires", "recipe", "type", "disposition", "signature"}
    assert answer("GET", key, photo.path, urlencode(pairs)).status == 422, "the URL is good, the image is not"
    forged = [{**pairs, "signature": one} for one in changes(pairs["signature"])]
    for name, value in pairs.items():
        forged.append({other: text for other, text in pairs.items() if other != name})
        forged += [
            {**pairs, name: other} for other in (value + "0", "0" + value, " " + value, value[:-1], "", value.swapcase() + "x")
        ]
    forged += [{**pairs, name: "1"} for name in ("original", "name", "cache", "method", "max", "length", "x")]
    for one in forged:
        assert answer("GET", key, photo.path, urlencode(one)).status == 403, one
    assert answer("GET", key, photo.path, urlencode([*pairs.items()] * 2)).status == 403
    values = {name: text for name, text in pairs.items() if name != "signature"}
    message = urlencode([("backend", key), ("path", photo.path), *sorted(values.items())])
    for purpose in Purpose:
        signed = urlencode({**values, "signature": Keys(SECRET).sign(purpose, message)})
        assert answer("GET", key, photo.path, signed).status == (422 if purpose is Purpose.VARIANT else 403)
    for path in (
        photo.path + "/",
        "/" + photo.path,
        photo.path.upper(),
        f"./{photo.path}",
        f"_filerow/variants/{photo.path}/x.webp",
    ):
        assert answer("GET", key, path, urlencode(pairs)).status == 403


# -- comparing takes the same time whatever is wrong ------------------------------------------------------------------------

CHECKING = (
    "_tokens.py",
    "direct/_claims.py",
    "direct/_redeem.py",
    "backends/_own_urls.py",
    "http/_variant.py",
    "http/route.py",
    "direct/_uploads.py",
    "variants/_urls.py",
)
"""Where signatures are checked; checksums of bytes, which are not secret, are compared elsewhere."""

SIGNATURE_NAMES = {"signature", "digest", "hmac", "mac"}


def compared_by_hand(source: str) -> list[int]:
    """Return the lines in which something that is called a signature is compared with ``==`` or ``in``."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(how, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for how in node.ops):
            names = {one.id for one in ast.walk(node) if isinstance(one, ast.Name)}
            names |= {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
            called = {
                one.func.attr for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute)
            }
            if names & SIGNATURE_NAMES or called & {"sign", "get_signature", "hexdigest"}:
                lines.append(node.lineno)
    return lines


def test_no_source_compares_signatures_by_hand(store: Store) -> None:
    root = Path(filerow.__file__).parent
    found = {name: compared_by_hand((root / name).read_text()) for name in CHECKING}
    assert found == {name: [] for name in CHECKING}
    assert compared_by_hand("if self.sign(purpose, text) == given: pass") == [1]
    assert compared_by_hand("ok = signature != expected") == [1]


def test_every_check_of_a_signature_compares_in_constant_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import itsdangerous.signer as theirs

    compared: list[tuple[Any, Any]] = []

    def counting(a: Any, b: Any) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    assert theirs.hmac.compare_digest is hmac.compare_digest
    monkeypatch.setattr(theirs, "hmac", type("counted", (), {"compare_digest": staticmethod(counting), "new": hmac.new}))
    keys = Keys([NEW, OLD])
    good, wrong = keys.sign(Purpose.URL, "m"), "A" * 43
    for signature, result in ((good, True), (wrong, False), (Keys(OLD).sign(Purpose.URL, "m"), True)):
        compared.clear()
        assert keys.is_signature(Purpose.URL, "m", signature) is result
        assert compared
        assert all(len(a) == len(b) == 32 for a, b in compared)
    compared.clear()
    Claim.unseal(keys, claim().seal(keys))
    assert len(compared) >= 1
    compared.clear()
    backend = MemoryBackend("timed", base_url="/files", secret=[NEW, OLD])
    storages.register_backend(backend)
    backend.own_urls.verify("GET", "a", urlsplit(backend.sign("a", SignRequest("GET", 60))).query)
    assert len(compared) >= 1
