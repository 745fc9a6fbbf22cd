"""Credentials of obstore's stores: providers, and how long keys for S3 last.

obstore takes providers that are plain functions and such that must be awaited, the latter for its asynchronous functions alone.
A backend has both sides, and threads that stream. So a provider that must be awaited is run by an event loop of its own.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import datetime
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple

from filerow._log import extras
from filerow._requirements import needs
from filerow.backends._types import SignRequest
from filerow.exceptions import StoragePermissionError, StorageTimeoutError

ABSENT_KEYS = (
    "give aws_access_key_id= and aws_secret_access_key=; or, for AWS_PROFILE, AWS SSO and whatever else boto3 knows, "
    "credential_provider=Boto3CredentialProvider() of obstore.auth.boto3"
)
"""What to do where there are no credentials for S3."""

_PATIENCE = 60.0
"""Seconds that a provider may take."""

_EARLY = 300.0
"""Seconds before their end at which credentials are renewed."""

_AGAIN = 60.0
"""Seconds after which credentials that end before a URL does are asked for again: the provider may have longer ones by now."""

logger: logging.Logger = logging.getLogger("filerow.backends")


class Provider:
    """A provider of credentials that sync and async code, and any thread, may call.

    Args:
        given: The application's: a plain callable, or one that returns an awaitable. The latter runs on an event loop of its own.

    Raises:
        TypeError: It cannot be called.
    """

    def __init__(self, given: Callable[[], Any]) -> None:
        if not callable(given):
            raise TypeError(f"credential_provider= is a function that returns credentials, not {type(given).__name__}")
        self.given = given

    def __call__(self) -> Any:
        """Return what the provider returns.

        Raises:
            StorageTimeoutError: It takes more than a minute.
            TypeError: It returns something else than a mapping, or an end that is not a moment.
        """
        answer = self.given()
        if not inspect.isawaitable(answer):
            return _checked(answer)
        try:
            return _checked(_run(answer))
        except TimeoutError:
            raise StorageTimeoutError(f"credential_provider= of the backend has not answered within {_PATIENCE:.0f} s") from None

    @property
    def is_awaited(self) -> bool:
        """Return True if the given provider is defined as a coroutine function."""
        return inspect.iscoroutinefunction(self.given) or inspect.iscoroutinefunction(getattr(self.given, "__call__", None))  # noqa: B004 - not whether

    def __getattr__(self, name: str) -> Any:
        if name == "given" or name.startswith("__"):  # of a copy that has nothing yet
            raise AttributeError(name)
        return getattr(self.given, name)  # such as ``config``, which obstore takes a bucket's region from

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Provider) and self.given == other.given

    def __hash__(self) -> int:
        return hash(self.given)


def _checked(answer: Any) -> Any:
    """Return what a provider has returned, if it can be meant.

    Raises:
        TypeError: It is not a mapping; or its end is not a moment, so its keys would seem to last.
    """
    if not isinstance(answer, Mapping):
        raise TypeError(f"it returned no dictionary, but {type(answer).__name__}")
    ends = answer.get("expires_at")
    if ends is not None and (not isinstance(ends, datetime) or ends.utcoffset() is None):
        what = "a datetime without a time zone" if isinstance(ends, datetime) else type(ends).__name__
        msg = f"its expires_at is {what}; it must be a datetime with one, such as datetime.now(UTC) + timedelta(hours=1), or None"
        raise TypeError(msg)
    return answer


async def _awaited(answer: Any) -> Any:
    return await answer


class AccessKeys(NamedTuple):
    """Credentials of an application for S3.

    Attributes:
        access_key_id: As in the URL.
        secret_access_key: Signs.
        token: Of temporary credentials; ``None`` for a key that lasts.
        ends: Seconds since the Unix epoch at which the store refuses them; ``None`` if never, or if that is not known.
    """

    access_key_id: str
    secret_access_key: str
    token: str | None = None
    ends: float | None = None


class S3Credentials:
    """The keys of one store on S3."""

    def __init__(self, store: Any, backend: str) -> None:
        self._backend = backend
        given = store.credential_provider
        self.provider: Any = given if given is None or isinstance(given, Provider) else Provider(given)
        self._keys = None if self.provider else _given(dict(store.config))
        self._asked = 0.0
        self._renewed = math.inf
        self._found: Any = None
        self._lock = threading.Lock()
        self._warned = False

    def at_hand(self, seconds: float = 0) -> AccessKeys | None:
        """Return keys that need no request; ``None`` if they end too early."""
        keys, now = self._keys, time.time()
        if keys is None or now > self._renewed:
            return None
        is_short = keys.ends is not None and keys.ends < now + seconds
        return None if is_short and now > self._asked + _AGAIN else keys

    def get(self, seconds: float = 0) -> AccessKeys:
        """Return keys; ask a provider or the machine for them if needed.

        Args:
            seconds: For how long they are wanted; they may end before.

        Raises:
            StoragePermissionError: There are none.
        """
        keys = self.at_hand(seconds)
        if keys is not None:
            return keys
        with self._lock:
            keys = self.at_hand(seconds)
            return self._provided() if keys is None and self.provider else keys or self._found_here()

    def within(self, request: SignRequest, keys: AccessKeys) -> SignRequest:
        """Return a request for a URL that ends with the keys, if not before.

        Raises:
            StoragePermissionError: They have ended.
        """
        if keys.ends is None:
            return request
        begins = time.time() if request.signed_at is None else request.signed_at
        left = int(keys.ends - begins)
        if request.expires_in <= left:
            return request
        if keys.ends <= time.time() or left < 1:
            msg = "the credentials have expired, so no URL that they sign would work; let credential_provider= renew them"
            raise self._refused(msg)
        if not self._warned:
            self._warned = True
            logger.warning(
                "URLs for %d s were asked for, but end with the temporary credentials that sign them, in %d s by now; sign for "
                "less, or with a key that lasts (logged once)",
                request.expires_in,
                left,
                extra=extras("sign"),
            )
        return request._replace(expires_in=left)

    def _provided(self) -> AccessKeys:
        self._asked = time.time()
        try:
            given = self.provider()
            key, secret, token = _keys_in(given)
            expires = _moment(given.get("expires_at"))
        except StorageTimeoutError as error:
            error.operation, error.backend = "sign", self._backend
            raise
        except Exception as error:
            msg = f"credential_provider= of the backend gave no credentials: {type(error).__name__}: {error}"
            raise self._refused(msg) from error
        ends = _end_of(getattr(self.provider, "credentials", None)) or expires
        self._renewed = 0 if expires is None else expires - min(_EARLY, (expires - self._asked) / 2)
        self._keys = AccessKeys(key, secret, token, ends if token else None)
        return self._keys

    def _found_here(self) -> AccessKeys:
        """Return what botocore finds on this machine; a role's keys renew themselves."""
        if self._found is None:
            self._found = _session(import_module("botocore.session")).get_credentials()
        if self._found is None:
            raise self._refused(f"there are no credentials to sign with: {ABSENT_KEYS}")
        frozen = self._found.get_frozen_credentials()
        return AccessKeys(frozen.access_key, frozen.secret_key, frozen.token, _end_of(self._found) if frozen.token else None)

    def _refused(self, message: str) -> StoragePermissionError:
        return StoragePermissionError(message, operation="sign", backend=self._backend)


def _keys_in(given: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return key, secret and token of what a provider has returned.

    Raises:
        TypeError: There are none, or by names that obstore does not read.
    """
    key, secret, token = (given.get(name) for name in ("access_key_id", "secret_access_key", "token"))
    if not (isinstance(key, str) and key and isinstance(secret, str) and secret and isinstance(token, str | None)):
        raise TypeError("it must return access_key_id and secret_access_key, and token with temporary ones, as texts")
    if token is None and (known := {"session_token", "aws_session_token", "SessionToken"} & set(given)):
        raise TypeError(f"it returned {known.pop()}, which obstore reads as token")
    return key, secret, token or None


def _given(config: Mapping[str, Any]) -> AccessKeys | None:
    key, secret = config.get("access_key_id"), config.get("secret_access_key")
    return AccessKeys(key, secret, config.get("session_token") or config.get("token")) if key and secret else None


def _moment(when: object) -> float | None:
    return when.timestamp() if isinstance(when, datetime) else None


def _end_of(held: object) -> float | None:
    """Return when botocore's credentials end, by a private name (as of 1.40).

    obstore's provider, which holds them as ``credentials``, returns only when to ask again.
    """
    return _moment(getattr(held, "_expiry_time", None))


# -- botocore --------------------------------------------------------------------------------------------------------------


def make_client(**options: Any) -> Any:
    """Return a client of botocore for S3; a session makes one at a time.

    Raises:
        ImportError: botocore is not installed (``filerow[s3]``).
    """
    with needs("s3", "signing for S3"):
        library = import_module("botocore.session")
    with _making:
        return _session(library).create_client("s3", **options)


@cache
def _session(library: Any) -> Any:
    """Return the one session: making another takes a third of a second."""
    return library.Session()


_making = threading.Lock()

# -- the event loop of providers that must be awaited ----------------------------------------------------------------------


_runners: list[asyncio.Runner] = []
_running = threading.Lock()


def _run(answer: Any) -> Any:
    """Await something on the one loop, in a thread that ends with it.

    Raises:
        TimeoutError: It takes more than a minute.
    """
    if not _running.acquire(timeout=_PATIENCE):
        raise TimeoutError
    result: Future[Any] = Future()

    def work() -> None:
        try:
            result.set_result(_runner().run(_awaited(answer)))
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            result.set_exception(error)
        finally:
            _running.release()

    threading.Thread(target=work, name="filerow-credentials", daemon=True).start()
    return result.result(_PATIENCE)


def _runner() -> asyncio.Runner:
    if not _runners:
        _runners.append(asyncio.Runner())
        atexit.register(_close, _runners[0])
    return _runners[0]


def _close(runner: asyncio.Runner) -> None:
    if _running.acquire(blocking=False):  # else a provider has not answered, and never will
        runner.close()


def _after_fork() -> None:
    global _making, _running
    _making, _running = threading.Lock(), threading.Lock()
    _runners.clear()


if hasattr(os, "register_at_fork"):  # absent where there is no fork
    os.register_at_fork(after_in_child=_after_fork)
