"""CloudFront's signed URLs and cookies, checked with the public key as CloudFront checks them."""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import json
import pickle
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from filerow import FileObject, storages
from filerow.backends.base import SignRequest
from filerow.backends.cloudfront import CloudFront
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import InvalidPathError, UnsupportedOperationError

BASE = "https://d111111abcdef8.cloudfront.net/docs"
KEY_ID = "K2JCJMDEHXQW5F"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
STORED_AS = "attachment; filename=\"Gr__e.png\"; filename*=UTF-8''Gr%C3%BC%C3%9Fe.png"
Form = serialization.PrivateFormat


def pem_of(key: Any, form: Form = Form.PKCS8, password: bytes | None = None) -> bytes:
    locked = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(key.private_bytes(serialization.Encoding.PEM, form, locked))


PEM = pem_of(KEY)


@pytest.fixture
def cdn() -> CloudFront:
    return CloudFront(BASE, key_id=KEY_ID, private_key=PEM)


# -- what CloudFront does --------------------------------------------------------------------------------------------------


def decoded(text: str) -> bytes:
    return base64.b64decode(text.replace("-", "+").replace("_", "=").replace("~", "/"))


class Edge:
    """The checks of a distribution, by Amazon's description: it rebuilds the policy, and looks at time, address and resource."""

    def __init__(self, now: float | None = None, address: str = "198.51.100.7") -> None:
        self.now = time.time() if now is None else now
        self.address = address

    def admits(self, url: str, cookies: dict[str, str] | None = None) -> bool:
        base, _, query = url.partition("?")
        given = [part.partition("=")[::2] for part in query.split("&") if part]
        ours = {name: value for name, value in given if name in {"Policy", "Signature", "Key-Pair-Id", "Expires"}}
        rest = "&".join(part for part in query.split("&") if part and part.partition("=")[0] not in ours)
        asked = f"{base}?{rest}" if rest else base
        values = {name.removeprefix("CloudFront-"): value for name, value in (cookies or {}).items()} or ours
        if values.get("Key-Pair-Id") != KEY_ID:
            return False
        if "Policy" in values:
            policy = decoded(values["Policy"])
        elif values.get("Expires", "").isdigit():
            until = values["Expires"]
            canned = f'{{"Statement":[{{"Resource":"{asked}","Condition":{{"DateLessThan":{{"AWS:EpochTime":{until}}}}}}}]}}'
            policy = canned.encode()
        else:
            return False
        return self._is_signed(policy, values["Signature"]) and self._fits(json.loads(policy), asked)

    def _is_signed(self, policy: bytes, signature: str) -> bool:
        try:
            KEY.public_key().verify(decoded(signature), policy, padding.PKCS1v15(), hashes.SHA1())
        except (InvalidSignature, ValueError):
            return False
        return True

    def _fits(self, policy: dict[str, Any], asked: str) -> bool:
        [statement] = policy["Statement"]
        condition = statement["Condition"]
        resource = re.escape(statement["Resource"]).replace(r"\*", ".*").replace(r"\?", ".")
        network = condition.get("IpAddress", {}).get("AWS:SourceIp", "0.0.0.0/0")
        return (
            re.fullmatch(resource, asked) is not None
            and self.now < condition["DateLessThan"]["AWS:EpochTime"]
            and self.now > condition.get("DateGreaterThan", {}).get("AWS:EpochTime", 0)
            and ipaddress.ip_address(self.address) in ipaddress.ip_network(network)
        )


# -- signed URLs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["sync", "async"])
def test_a_file_of_the_backend_is_signed_for_the_distribution(cdn: CloudFront, side: str) -> None:
    storages.register_backend(ObstoreBackend("docs", "memory://", cdn=cdn))
    file = FileObject("docs", "ü b.png", content=b"x").save()

    def signed(**options: Any) -> str:
        return file.sign(**options) if side == "sync" else asyncio.run(file.sign_async(**options))

    for url in (signed(expires_in=60), signed(download_as='Grüße & "x".png'), signed(inline=True)):
        assert url.startswith(f"{BASE}/{quote(file.path)}?")
        assert Edge().admits(url)
        assert not Edge().admits(url.replace(quote(file.path), "other.png"))
        assert not Edge().admits(url.replace("Expires=1", "Expires=2"))
        assert not Edge().admits(f"{url}&response-content-type=text/html")
        assert not Edge().admits(
            re.sub("response-content-disposition=[^&]*", "response-content-disposition=inline", url) + "&x=1"
        )
    query = dict(parse_qsl(urlsplit(signed(download_as="Grüße.png")).query))
    assert query["response-content-disposition"] == STORED_AS
    assert not Edge(time.time() + 62).admits(signed(expires_in=60))
    assert Edge(time.time() + 58).admits(signed(expires_in=60))


def test_many_urls_of_one_window_are_the_same(cdn: CloudFront) -> None:
    storages.register_backend(ObstoreBackend("docs", "memory://", cdn=cdn))
    files = [FileObject("docs", f"{n}.png", content=b"x").save() for n in range(3)]
    urls = storages.sign_many(files, expires_in=600, round_expiry=3600)
    assert all(map(Edge().admits, urls))
    assert asyncio.run(storages.sign_many_async(files, expires_in=600, round_expiry=3600)) == urls


def test_it_signs_no_uploads(cdn: CloudFront) -> None:
    with pytest.raises(UnsupportedOperationError, match="CloudFront signs URLs to read, not to PUT"):
        cdn.sign("a.png", SignRequest("PUT", 60))


@pytest.mark.parametrize("path", ["../x", "a/../b", "a\0", ""])
def test_no_path_leads_out_of_its_folder(cdn: CloudFront, path: str) -> None:
    for call in (lambda: cdn.sign(path, SignRequest("GET", 60)), lambda: cdn.custom_url(path)):
        with pytest.raises(InvalidPathError):
            call()
    if path:
        with pytest.raises(InvalidPathError):
            cdn.cookies(path)


def test_no_name_becomes_a_wildcard(cdn: CloudFront) -> None:
    assert not Edge().admits(cdn.custom_url("a/*").replace("%2A", "secret.png"))
    assert not Edge().admits(f"{BASE}/ab/secret.png", cdn.cookies("a*"))
    assert not Edge().admits(f"{BASE}/ab/secret.png", cdn.cookies("a?"))


# -- custom policies -------------------------------------------------------------------------------------------------------


def test_a_custom_policy_binds_times_and_addresses(cdn: CloudFront) -> None:
    now = time.time()
    url = cdn.custom_url("a b.png", expires_in=60, not_before=now + 10, ip_address="192.0.2.0/24")
    inside = "192.0.2.200"
    assert Edge(now + 20, inside).admits(url)
    assert not Edge(now + 5, inside).admits(url)
    assert not Edge(now + 70, inside).admits(url)
    assert not Edge(now + 20).admits(url)
    assert Edge(now + 20).admits(cdn.custom_url("a b.png", ip_address="198.51.100.7"))
    policy = json.loads(decoded(dict(parse_qsl(urlsplit(url).query))["Policy"]))
    assert policy["Statement"][0]["Resource"] == f"{BASE}/a%20b.png"


def test_cookies_are_for_a_folder_and_what_is_below(cdn: CloudFront) -> None:
    cookies = cdn.cookies("document/file", expires_in=60)
    assert set(cookies) == {"CloudFront-Policy", "CloudFront-Signature", "CloudFront-Key-Pair-Id"}
    assert all(re.fullmatch(r"[A-Za-z0-9_~-]+", value) for value in cookies.values())
    assert Edge().admits(f"{BASE}/document/file/x.png", cookies)
    assert Edge().admits(f"{BASE}/document/file/y/x.png", cookies)
    for outside in ("document/files/x.png", "document/file", "x.png"):
        assert not Edge().admits(f"{BASE}/{outside}", cookies)
    assert not Edge(time.time() + 62).admits(f"{BASE}/document/file/x.png", cookies)
    everything = cdn.cookies()
    assert Edge().admits(f"{BASE}/x.png", everything)
    assert not Edge().admits(f"{BASE}x.png", everything)
    assert not Edge().admits(f"{BASE}/x.png", {**everything, "CloudFront-Signature": cookies["CloudFront-Signature"]})


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"expires_in": 0}, ValueError, "must be positive"),
        ({"expires_in": float("nan")}, ValueError, "must be positive"),
        ({"expires_in": "60"}, TypeError, "number of seconds, not str"),
        ({"not_before": time.time() + 7200}, ValueError, "before the URL expires"),
        ({"not_before": -1}, ValueError, "before the URL expires"),
        ({"ip_address": "2001:db8::1"}, ValueError, "IPv4"),
        ({"ip_address": 'x"},{"a":"'}, ValueError, "IPv4"),
    ],
)
def test_what_a_policy_cannot_hold_is_refused(cdn: CloudFront, options: dict[str, Any], kind: type[Exception], why: str) -> None:
    for call in (lambda: cdn.custom_url("a.png", **options), lambda: cdn.cookies("a", **options)):
        with pytest.raises(kind, match=why):
            call()


# -- the key ---------------------------------------------------------------------------------------------------------------


def test_the_key_comes_as_text_bytes_or_a_path(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(PEM)
    for given in (PEM, PEM.decode(), PEM.decode().replace("\n", "\\n"), file, str(file), pem_of(KEY, Form.TraditionalOpenSSL)):
        assert Edge().admits(CloudFront(BASE, key_id=KEY_ID, private_key=given).sign("a.png", SignRequest("GET", 60)))


PUBLIC = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
BODY = "".join(PEM.decode().splitlines()[1:-1])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (PUBLIC, "is not the PEM of a private key"),
        (BODY, "cannot be read"),
        (BODY.encode(), "is not the PEM of a private key"),
        (PEM[:900], "is not the PEM of a private key"),
        (pem_of(KEY, password=b"x"), "is encrypted"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "must be an RSA key of 2048 bits"),
        (pem_of(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "must be an RSA key of 2048 bits"),
        ("/no/such/file.pem", "cannot be read: No such file"),
        ("nul\0", "cannot be read"),
    ],
    ids=["public", "body", "body-bytes", "cut", "encrypted", "ec", "short", "missing", "nul"],
)
def test_what_is_not_a_key_is_refused_without_showing_it(given: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        CloudFront(BASE, key_id=KEY_ID, private_key=given)
    shown = f"{caught.value!r} {caught.value.__cause__!r}"
    assert BODY[:40] not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert "/no/such/file.pem" not in shown  # a text may be the key
    with pytest.raises(ValueError, match=r"the file '/no/such/file\.pem' cannot be read"):
        CloudFront(BASE, key_id=KEY_ID, private_key=Path("/no/such/file.pem"))


@pytest.mark.parametrize(
    ("change", "kind", "why"),
    [
        ({"base_url": "d111111abcdef8.cloudfront.net"}, ValueError, "base_url of CloudFront: .* does not begin with"),
        ({"base_url": "/docs"}, ValueError, "does not begin with"),
        ({"base_url": f"{BASE}?x"}, ValueError, "has a query"),
        ({"base_url": f"{BASE}/*"}, ValueError, "wildcard"),
        ({"key_id": ""}, ValueError, "key_id of CloudFront is the ID of a public key"),
        ({"key_id": "K2&Expires=9"}, ValueError, "key_id of CloudFront is the ID of a public key"),
        ({"private_key": 3}, TypeError, "not int"),
    ],
)
def test_arguments_are_checked_at_construction(change: dict[str, Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        CloudFront(**{"base_url": BASE, "key_id": KEY_ID, "private_key": PEM, **change})


def test_the_key_is_in_no_repr_and_no_pickle(cdn: CloudFront) -> None:
    assert repr(cdn) == f"<CloudFront {BASE} key_id={KEY_ID!r}>"
    backend = ObstoreBackend("docs", "memory://", cdn=cdn)
    assert BODY[:40] not in f"{backend!r} {backend.public_urls!r} {vars(cdn)!r}"
    with pytest.raises(TypeError, match="holds a private key"):
        pickle.dumps(cdn)


def test_the_host_is_written_as_browsers_write_it() -> None:
    cdn = CloudFront("HTTPS://Media.Example.org/Docs/", key_id=KEY_ID, private_key=PEM)
    assert cdn.sign("a.png", SignRequest("GET", 60)).startswith("https://media.example.org/Docs/a.png?")
