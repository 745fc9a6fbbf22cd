"""Keys: what makes a secret, and what signatures and sealed tokens are good for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from secrets import token_bytes, token_hex, token_urlsafe
from typing import Any

import pytest
from itsdangerous.encoding import base64_decode, base64_encode

from filerow._tokens import ENVIRONMENT, Keys, Purpose, Secret, check_expiry, resolve_keys
from filerow.exceptions import ExpiredTokenError, InvalidTokenError, SecretError

SECRET = "n0LJE1aYJwFZKc8JHzmBlbAvoHT6yEI6"
OTHER = "NRlSVxlZ-zDIx1XBeHrcEUIPdix0jNMN"
NOW = 1_800_000_000
SIGNED = "QqWysZ2UGuvHlKFNH-ZwBE4nOdfDHFZJpeLwj1Ockf0"
SEALED = "eyJhIjoxLCJleHAiOjE4MDAwMDAwMDB9.-UnfyUiu6OxtXiThIW2zEAFByGRxSzmz9bq_PVB5O0M"


# -- secrets ---------------------------------------------------------------------------------------------------------------


SHORT = "s3Qx0aLm9-Pz_7Rt"
LATER = "Yb4_kW-81nUe6oJd"


@pytest.mark.parametrize("secret", [SHORT, SHORT.encode(), [SHORT, LATER.encode()], (SHORT,)])
def test_sixteen_characters_are_enough(secret: Secret) -> None:
    assert Keys(secret).sign(Purpose.URL, "message")


@pytest.mark.parametrize("secret", [SHORT[1:], SHORT[1:].encode(), [SHORT, LATER[1:]], [LATER[1:], SHORT], [], ""])
def test_fewer_are_not(secret: Secret) -> None:
    with pytest.raises(SecretError, match="at least 16 characters"):
        Keys(secret)


@pytest.mark.parametrize(
    ("secret", "flaw"),
    [
        ("a" * 16, "8 different"),
        ("a" * 1000, "8 different"),
        ("abcabcabcabcabcabc", "8 different"),
        ("0123456789abcdef", "in order"),
        ("abcdefghijklmnopqrstuvwxyz", "in order"),
        ("9876543210zyxwvutsrq", "in order"),
        ("change me: 32 random characters", "placeholder"),
        ("development-secret", "words"),
        ("your-256-bit-secret", "words"),
        ("${FILEROW_SECRET}", "words"),
        ("qwertyuiopasdfgh", "keys in a row"),
        ("password12345678", "words"),
        ("CHANGE-ME-in-production-please", "placeholder"),
        ("django-insecure-k3j4h5k3j4h5", "placeholder"),
        ([LATER, "a" * 32], "8 different"),
    ],
)
def test_a_secret_that_can_be_guessed_is_refused(secret: Secret, flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SecretError, match=flaw) as refused:
        Keys(secret)
    assert "token_urlsafe" in str(refused.value)
    assert str(secret) not in str(refused.value)
    if isinstance(secret, str) and " " not in secret:
        monkeypatch.setenv(ENVIRONMENT, secret)
        with pytest.raises(SecretError, match=flaw):
            resolve_keys(None)


def test_random_secrets_are_not_taken_for_guessable_ones() -> None:
    for _ in range(2000):
        Keys([token_hex(16), token_urlsafe(16), token_bytes(16)])


def test_text_and_its_bytes_are_one_secret() -> None:
    text = "ein geheimer Schlüssel"
    assert Keys(text).sign(Purpose.URL, "message") == Keys(text.encode()).sign(Purpose.URL, "message")


def test_repr_of_keys_shows_only_how_many_secrets_they_have() -> None:
    assert repr(Keys(SECRET)) == "<Keys: 1 secret>"
    assert repr(Keys([SECRET, OTHER])) == "<Keys: 2 secrets>"


# -- signatures ------------------------------------------------------------------------------------------------------------


def test_what_an_earlier_version_has_signed_is_still_good() -> None:
    keys = Keys(SECRET)
    assert keys.sign(Purpose.URL, "message") == SIGNED
    assert keys.is_signature(Purpose.URL, "message", SIGNED)
    assert keys.seal(Purpose.CLAIM, {"a": 1}, expires_at=NOW) == SEALED
    assert keys.unseal(Purpose.CLAIM, SEALED, now=0) == {"a": 1, "exp": NOW}


def test_signature_is_for_one_message_purpose_and_secret() -> None:
    keys = Keys(SECRET)
    assert not keys.is_signature(Purpose.URL, "another message", SIGNED)
    assert not keys.is_signature(Purpose.CLAIM, "message", SIGNED)
    assert not Keys(OTHER).is_signature(Purpose.URL, "message", SIGNED)
    assert keys.is_signature(Purpose.URL, "message", SIGNED), "asking has changed nothing"


def test_the_first_secret_signs_and_all_are_accepted() -> None:
    keys = Keys([OTHER, SECRET])
    assert keys.sign(Purpose.URL, "message") == Keys(OTHER).sign(Purpose.URL, "message")
    assert keys.is_signature(Purpose.URL, "message", SIGNED)


def test_no_other_spelling_of_a_signature_is_taken() -> None:
    keys = Keys(SECRET)
    for spelling in ("", SIGNED[:-1], f"{SIGNED}=", f"{SIGNED}\n", f" {SIGNED}", SIGNED[:-1] + "d", SIGNED.replace("-", "+")):
        assert not keys.is_signature(Purpose.URL, "message", spelling)


# -- sealed tokens ---------------------------------------------------------------------------------------------------------


def test_a_token_carries_its_payload_in_any_order_of_its_keys() -> None:
    keys = Keys(SECRET)
    payload = {"b": [1, None], "a": {"ü": True}}
    token = keys.seal(Purpose.CLAIM, payload, expires_at=NOW)
    assert token == keys.seal(Purpose.CLAIM, dict(reversed(payload.items())), expires_at=NOW)
    assert re.fullmatch(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}", token), "it goes into a URL as it is"
    assert keys.unseal(Purpose.CLAIM, token, now=NOW - 1) == {**payload, "exp": NOW}


def test_nobody_chooses_when_a_token_expires_but_who_seals_it() -> None:
    keys = Keys(SECRET)
    token = keys.seal(Purpose.CLAIM, {"exp": NOW + 10**6}, expires_at=NOW)
    with pytest.raises(ExpiredTokenError):
        keys.unseal(Purpose.CLAIM, token, now=NOW)


def test_a_token_is_good_until_the_very_second() -> None:
    keys = Keys(SECRET)
    token = keys.seal(Purpose.CLAIM, {}, expires_at=NOW)
    assert keys.unseal(Purpose.CLAIM, token, now=NOW - 0.001)
    for late in (NOW, NOW + 0.001):
        with pytest.raises(ExpiredTokenError):
            keys.unseal(Purpose.CLAIM, token, now=late)


def test_without_a_time_given_the_clock_decides() -> None:
    keys = Keys(SECRET)
    assert keys.unseal(Purpose.CLAIM, keys.seal(Purpose.CLAIM, {}, expires_at=time.time() + 600))
    with pytest.raises(ExpiredTokenError):
        keys.unseal(Purpose.CLAIM, keys.seal(Purpose.CLAIM, {}, expires_at=time.time() - 1))
    check_expiry(time.time() + 600)
    check_expiry(1, now=0)
    with pytest.raises(ExpiredTokenError):
        check_expiry(time.time() - 1)


def test_a_changed_payload_is_refused_before_it_is_read() -> None:
    text, _, signature = SEALED.rpartition(".")
    forged = base64_encode(json.dumps({**json.loads(base64_decode(text)), "a": 2})).decode()
    for token in (f"{forged}.{signature}", f"not JSON.{signature}", f"{SEALED}A", f"A{SEALED}", f"{text}.{text}.{signature}"):
        with pytest.raises(InvalidTokenError):
            Keys(SECRET).unseal(Purpose.CLAIM, token, now=0)


@pytest.mark.parametrize("token", ["", ".", "a", SIGNED, f".{SIGNED}", f"{SIGNED}.", "ü.ü", "\ud800.a", None, 1, b"a.b", ["a.b"]])
def test_what_is_not_a_token_is_refused(token: Any) -> None:
    with pytest.raises(InvalidTokenError):
        Keys(SECRET).unseal(Purpose.CLAIM, token, now=0)


def test_signed_empty_text_is_not_a_token() -> None:
    keys = Keys(SECRET)
    with pytest.raises(InvalidTokenError):
        keys.unseal(Purpose.CLAIM, f".{keys.sign(Purpose.CLAIM, '')}", now=0)


# -- where secrets come from -----------------------------------------------------------------------------------------------


def made(keys: Keys) -> str:
    return keys.sign(Purpose.URL, "message")


@pytest.mark.parametrize("value", [f"{SECRET},{OTHER}", f"{SECRET} {OTHER}", f" {SECRET} ,\n\t{OTHER}, "])
def test_environment_s_secrets_are_split_at_commas_or_spaces(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, value)
    keys = resolve_keys(None)
    assert repr(keys) == "<Keys: 2 secrets>"
    assert made(keys) == SIGNED


def test_argument_precedes_environment_and_that_a_random_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, SECRET)
    assert made(resolve_keys(OTHER, development=True)) == made(Keys(OTHER))
    assert made(resolve_keys(None, development=True)) == SIGNED
    monkeypatch.delenv(ENVIRONMENT)
    assert made(resolve_keys(OTHER)) == made(Keys(OTHER))


def test_given_secret_of_none_is_refused_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT, SECRET)
    for secret in ("", b"", []):
        with pytest.raises(SecretError):
            resolve_keys(secret, development=True)


@pytest.mark.parametrize("value", [None, "", " , "])
def test_without_any_secret_it_is_said_who_needs_one(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    if value is not None:
        monkeypatch.setenv(ENVIRONMENT, value)
    with pytest.raises(SecretError, match=r"^signing needs a secret: .*FILEROW_SECRET"):
        resolve_keys(None)
    with pytest.raises(SecretError, match=r"^the claims of 'docs' needs a secret"):
        resolve_keys(None, user="the claims of 'docs'")


def test_random_keys_are_one_pair_per_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    keys = resolve_keys(None, development=True)
    assert resolve_keys(None, development=True) is keys
    assert made(keys) != SIGNED


_SIGNS = """
import logging, multiprocessing, sys
logging.basicConfig(stream=sys.stdout)
from filerow._tokens import resolve_keys
def work():
    resolve_keys(None, development=True)
if __name__ == "__main__":
    how = sys.argv[1]
    if how == "alone":
        work()
    else:
        child = multiprocessing.get_context(how).Process(target=work)
        child.start()
        child.join()
"""


@pytest.mark.parametrize(
    ("how", "workers", "warned"),
    [
        ("alone", "", 0),
        ("alone", "2", 1),
        ("fork", "", 1),
        ("spawn --reload", "", 0),
        pytest.param("spawn", "", 1, marks=pytest.mark.thorough),
    ],
)
def test_several_workers_with_random_secrets_are_warned(how: str, workers: str, warned: int, tmp_path: Path) -> None:
    script = tmp_path / "signs.py"
    script.write_text(_SIGNS)
    environment = {**os.environ, "WEB_CONCURRENCY": workers}
    environment.pop(ENVIRONMENT, None)
    done = subprocess.run([sys.executable, script, *how.split()], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.count("they refuse each other's URLs") == warned, done.stdout + done.stderr
