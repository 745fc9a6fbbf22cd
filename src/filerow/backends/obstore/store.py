"""Build obstore stores from URLs, and describe each kind and its runtime.

The runtime's threads do not survive ``os.fork()``, yet it believes they did: nearly every call in the child hangs, through new
stores as well, local ones included. An error at once is better.
"""

from __future__ import annotations

import atexit
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from obstore.store import AzureStore, GCSStore, HTTPStore, LocalStore, MemoryStore, S3Store, from_url

from filerow.backends._deadlines import obstore_limits, obstore_retries, with_types
from filerow.backends._foreign import clean_message, secrets_of
from filerow.backends._types import CLOUD, Capabilities
from filerow.backends.obstore.connection_string import with_connection_string
from filerow.backends.obstore.credentials import AccessKeys, Provider
from filerow.exceptions import ForkedProcessError

CONDITIONAL_COPY = "header:if-none-match:*"
"""Lets S3 refuse a copy onto an existing object. obstore's other way, ``multipart``, drops the object's headers."""

_ENDPOINTS = {
    "s3": (
        ("endpoint", "endpoint_url", "endpoint_url_s3", "aws_endpoint", "aws_endpoint_url", "aws_endpoint_url_s3"),
        ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    ),
    "gs": (("base_url", "gcs_base_url", "google_base_url"), ("GOOGLE_BASE_URL",)),
    "az": (("endpoint", "azure_endpoint", "azure_storage_endpoint"), ("AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT")),
}

# What obstore takes in client_options= alone, though object_store knows each as an option of every store, with its prefix too
# (``aws_allow_http``): obstore panics over them there.
_CLIENT = re.compile(
    r"(?:aws_|azure_|google_)?(allow_http|allow_invalid_certificates|connect_timeout|default_content_type|http1_only|http2_only"
    r"|http2_keep_alive_interval|http2_keep_alive_timeout|http2_keep_alive_while_idle|http2_max_frame_size|pool_idle_timeout"
    r"|pool_max_idle_per_host|proxy_url|proxy_ca_certificate|proxy_excludes|randomize_addresses|read_timeout|timeout|user_agent)"
)

_SCHEMES = {"s3": "s3", "s3a": "s3", "gs": "gs", "az": "az", "adl": "az", "azure": "az", "abfs": "az", "abfss": "az"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What sets one kind of store apart from the others.

    Attributes:
        protocol: As in URLs: ``s3``, ``gs``, ``az``, ``http``, ``file``, ``memory``.
        capabilities: What a backend on it can do.
        headers: It stores the headers and metadata that come with an object.
        identifiers: Metadata keys must be identifiers.
    """

    protocol: str
    capabilities: Capabilities
    headers: bool = True
    identifiers: bool = False
    crowd: int = 0


_CROWD = 32
"""From this many small objects on, threads are an eighth faster: each awaited one costs the event loop some 60 µs."""

_CLOUD = CLOUD._replace(native_async=True, stored_with=frozenset({"storage_class"}))
_TAGGED = _CLOUD._replace(stored_with=frozenset({"storage_class", "tags"}))
_PLAIN = Capabilities(native_async=True)

_KINDS: tuple[tuple[type, Kind], ...] = (
    (S3Store, Kind("s3", _TAGGED, crowd=_CROWD)),
    (GCSStore, Kind("gs", _CLOUD, crowd=_CROWD)),
    (AzureStore, Kind("az", _TAGGED._replace(ordered_list=False), identifiers=True, crowd=_CROWD)),  # it orders by UTF-16
    (LocalStore, Kind("file", _PLAIN, headers=False)),
    (MemoryStore, Kind("memory", _PLAIN._replace(ordered_list=True, keeps_content_type=True))),
    (HTTPStore, Kind("http", _PLAIN, headers=False)),
)


_WITH_ENDPOINT: tuple[tuple[type, str], ...] = ((S3Store, "s3"), (GCSStore, "gs"), (AzureStore, "az"))


def kind_of(store: object) -> Kind:
    """Return the kind of a store.

    Raises:
        TypeError: It is not an obstore store.
    """
    kind = next((kind for cls, kind in _KINDS if isinstance(store, cls)), None)
    if kind is None:
        raise TypeError(f"fs must be a URL such as 's3://bucket/prefix' or an obstore store, not {type(store).__name__}")
    if kind.protocol == "s3" and endpoint_of(store):
        # S3 lists keys in byte order; some compatible stores go folder by folder, and none reports which it does.
        return replace(kind, capabilities=kind.capabilities._replace(ordered_list=False))
    if kind.protocol == "gs" and "bearer_token" in (getattr(store, "config", None) or {}):
        return replace(kind, capabilities=kind.capabilities._replace(sign_get=False, sign_put=False))  # a token is not a key
    return kind


def endpoint_of(store: object) -> str:
    """Return the custom endpoint of a store; empty for the cloud's own."""
    config: Mapping[str, Any] = getattr(store, "config", None) or {}
    names = next((names for names, _ in _ENDPOINTS.values() if any(config.get(name) for name in names)), ())
    found = next((str(config[name]) for name in names if config.get(name)), "")
    return found or next((_environment_endpoint(kind) for cls, kind in _WITH_ENDPOINT if isinstance(store, cls)), "")


def build_store(url: str, options: Mapping[str, Any], timeout: float) -> Any:
    """Build the store that a URL names.

    Args:
        url: ``s3://bucket/prefix``, ``gs://bucket``, ``az://container``, ``file:///folder``, ``memory://``, ``https://host/path``.
        options: Options of obstore's store (``aws_endpoint=``, ``aws_access_key_id=``, ``account_key=``, …), and
            ``config=``, ``client_options=``, ``retry_config=``, ``credential_provider=``.
        timeout: Seconds of silence after which a request is given up.

    Raises:
        ValueError: The URL or an option is not understood.
    """
    given = dict(options)
    scheme = urlsplit(url).scheme
    if scheme == "file":
        _refuse_unknown(given, {"mkdir", "automatic_cleanup"}, scheme)
        clean_up = bool(given.get("automatic_cleanup", False))
        return LocalStore.from_url(url, automatic_cleanup=clean_up, mkdir=bool(given.get("mkdir", True)))
    if scheme == "memory":
        _refuse_unknown(given, set(), scheme)
        return MemoryStore()
    kind = "s3" if s3_is_meant(url) else _SCHEMES.get(scheme, "")
    if kind == "az":
        given = with_connection_string(given)
    endpoint = url if scheme == "http" else _endpoint(kind, given)
    _check_address(url, scheme, endpoint)
    named = {**_client_options(given), **with_types(given.pop("client_options", None) or {}, "client_options")}
    client = {**obstore_limits(timeout), **with_types(named, "client_options")}
    if endpoint.lower().startswith("http://"):
        client.setdefault("allow_http", True)
    given["retry_config"] = {**obstore_retries(timeout), **with_types(given.get("retry_config") or {}, "retry_config")}
    if given.get("credential_provider") is not None:
        given["credential_provider"] = Provider(given["credential_provider"])
    if kind == "s3":
        _complete_s3(given, endpoint, has_region=scheme == "https")
    try:
        build: Any = from_url  # its overloads know each store's options by name
        return build(url, client_options=client, **given)
    except Exception as error:  # obstore's own errors have no base in common with the builtin ones it raises  # noqa: BLE001
        # Not chained: the native error may quote the options, secrets among them.
        msg = f"cannot build the store {clean_message(url)!r}: {clean_message(str(error), secrets_of(given))}"
        raise ValueError(msg) from None


def s3_is_meant(url: str) -> bool:
    """Return True if a URL names a bucket on S3."""
    kind = _SCHEMES.get(urlsplit(url).scheme)
    return kind == "s3" or (kind is None and (".amazonaws.com" in url or ".r2.cloudflarestorage.com" in url))


def _check_address(url: str, scheme: str, endpoint: str) -> None:
    """Refuse addresses that obstore accepts, or refuses with obscure errors.

    Raises:
        ValueError: No scheme, no bucket, or an endpoint without a scheme, by which obstore would panic at the first request.
    """
    shown = clean_message(url)
    if not scheme:
        raise ValueError(f"{shown!r} is not a URL; write 's3://{shown.strip('/')}', or the scheme of another store")
    if scheme in _SCHEMES and not urlsplit(url).netloc:
        raise ValueError(f"{shown!r} names no bucket; write '{scheme}://bucket' or '{scheme}://bucket/prefix'")
    if endpoint and not endpoint.lower().startswith(("http://", "https://")):
        shown = clean_message(endpoint)
        raise ValueError(f"the endpoint {shown!r} does not say how it speaks; write 'http://{shown}' or 'https://{shown}'")


def _refuse_unknown(options: Mapping[str, Any], known: set[str], scheme: str) -> None:
    unknown = sorted(set(options) - known - {"client_options", "retry_config"})
    if unknown:
        raise ValueError(f"{scheme}:// takes no option named {', '.join(unknown)}")


def _client_options(options: dict[str, Any]) -> dict[str, Any]:
    """Take the HTTP client's options out of a store's own, by obstore's names."""
    found: dict[str, Any] = {}
    if options.get("config"):
        options["config"] = dict(options["config"])
    for given in (options.get("config") or {}, options):
        named = [(name, match[1]) for name in given if (match := _CLIENT.fullmatch(str(name).lower()))]
        found |= {plain: given.pop(name) for name, plain in named}
    return found


def _endpoint(kind: str, options: Mapping[str, Any]) -> str:
    if kind not in _ENDPOINTS:
        return ""
    names, _ = _ENDPOINTS[kind]
    given = {**(options.get("config") or {}), **options}
    lowered = {str(name).lower(): value for name, value in given.items()}
    found = next((lowered[name] for name in names if lowered.get(name)), None)
    return str(found or _environment_endpoint(kind))


def _environment_endpoint(kind: str) -> str:
    """Return the endpoint in the environment for a kind of store, or nothing."""
    _, variables = _ENDPOINTS[kind]
    return next((os.environ[name] for name in variables if os.environ.get(name)), "")


def _complete_s3(options: dict[str, Any], endpoint: str, *, has_region: bool) -> None:
    names = {str(name).lower().removeprefix("aws_") for name in {**(options.get("config") or {}), **options}}
    given = {
        str(name).lower().removeprefix("aws_"): value for name, value in {**(options.get("config") or {}), **options}.items()
    }
    if "copy_if_not_exists" not in names and _option(given, "conditional_put") != "disabled":
        options["copy_if_not_exists"] = CONDITIONAL_COPY
    if endpoint and "virtual_hosted_style_request" not in names:
        options["virtual_hosted_style_request"] = False  # only the cloud itself answers on a host per bucket
    has_region = has_region or bool(
        {"region", "default_region"} & names or {"AWS_REGION", "AWS_DEFAULT_REGION"} & set(os.environ)
    )
    if not has_region:
        options["region"] = "us-east-1"


def _option(config: Mapping[str, Any], name: str) -> str:
    """Return an option of S3 in lower case, also from the environment."""
    return str(config.get(name) or os.environ.get(f"AWS_{name.upper()}") or "").lower()


def is_on(config: Mapping[str, Any], name: str, variable: str = "") -> bool:
    """Return True if a switch of a store is on, also by the environment."""
    given = config.get(name) or os.environ.get(variable or f"AWS_{name.upper()}") or ""
    return str(given).lower() in {"1", "true", "on", "yes", "y"}


def is_switched_off(store: Any) -> bool:
    """Return True if the application wants no conditional writes on an S3 store."""
    return _option(store.config, "conditional_put") == "disabled"


def is_one_by_one(store: Any) -> bool:
    """Return True if an S3 store is set to delete one object a request."""
    return is_on(store.config, "disable_bulk_delete")


def is_requester_paying(store: Any) -> bool:
    """Return True if the requester pays, which each request and each URL must state."""
    return is_on(store.config, "request_payer")


def has_static_key(store: Any, protocol: str) -> bool:
    """Return True if a store has a key that lasts, and so signs without requests."""
    config = getattr(store, "config", None) or {}
    if getattr(store, "credential_provider", None):
        return False
    return any(all(config.get(name) for name in names) for names in _STATIC_KEYS.get(protocol, ()))


_STATIC_KEYS = {
    "s3": (("access_key_id", "secret_access_key"),),
    "gs": (("service_account_key",), ("service_account",)),
    "az": (("account_name", "account_key"), ("account_name", "access_key")),
}


def name_in(store: Any, path: str) -> str:
    """Return the name that an object has in its bucket."""
    return f"{store.prefix}/{path}" if store.prefix else path


def with_callable_provider(store: Any) -> Any:
    """Return a store whose provider can be called from sync and async code."""
    given = getattr(store, "credential_provider", None)
    provider = None if given is None or isinstance(given, Provider) else Provider(given)
    if provider is None or not provider.is_awaited:
        return store
    return rebuilt(store, credential_provider=provider)


def with_conditional_copy(store: Any) -> Any:
    """Return an S3 store that can refuse to overwrite by a copy."""
    if str(store.config.get("copy_if_not_exists", "")).startswith("header"):
        return store
    return rebuilt(store, {"copy_if_not_exists": CONDITIONAL_COPY})


def one_by_one(store: Any) -> Any:
    """Return a like S3 store that deletes one object a request."""
    return rebuilt(store, {"disable_bulk_delete": True})


def with_keys(store: Any, keys: AccessKeys) -> Any:
    """Return an S3 store on the same configuration with keys instead of a provider."""
    config = {"access_key_id": keys.access_key_id, "secret_access_key": keys.secret_access_key}
    return rebuilt(store, config | ({"session_token": keys.token} if keys.token else {}), credential_provider=None)


def without_retries(store: Any) -> Any:
    """Return an S3 store on the same configuration that sends each request once."""
    return rebuilt(store, retry_config={**(store.retry_config or {}), "max_retries": 0})


def rebuilt(store: Any, config: Mapping[str, Any] | None = None, **changed: Any) -> Any:
    """Return a store like this one, but for what is given.

    Args:
        store: An obstore store of a cloud.
        config: Options of the store that differ.
        **changed: What else differs: ``prefix``, ``client_options``, ``retry_config``, ``credential_provider``.
    """
    cls: Any = next(cls for cls, _ in _KINDS if isinstance(store, cls))
    given = {name: getattr(store, name) for name in ("prefix", "client_options", "retry_config", "credential_provider")}
    return cls(config={**store.config, **(config or {})}, **{**given, **changed})


# -- where a store on S3 is, in botocore's terms --------------------------------------------------------------------------


class Demands(NamedTuple):
    """What a store on S3 adds to each write, and a bucket may demand of others.

    Attributes:
        encryption: Parameters of botocore's operations.
        headers: The same as headers.
        checksum: Each write comes with its SHA-256.
        customer_key: Objects are encrypted with a key that only the application has.
    """

    encryption: dict[str, Any]
    headers: dict[str, str]
    checksum: bool
    customer_key: bool


def demands_of(store: Any) -> Demands:
    """Return what a store on S3 adds to each write, wherever it was configured."""
    asked = {name: store.config.get(name) or os.environ.get(f"AWS_{name.upper()}") for name in _ENCRYPTION}
    checksum = _option(store.config, "checksum_algorithm") == "sha256"
    algorithm = asked["server_side_encryption"]
    if not algorithm or str(algorithm).lower() == "sse-c":
        return Demands({}, {}, checksum, bool(algorithm))
    asked["sse_bucket_key_enabled"] = is_on(store.config, "sse_bucket_key_enabled")
    given = {name: value for name, value in asked.items() if value}
    headers = {_ENCRYPTION[name][1]: value if isinstance(value, str) else "true" for name, value in given.items()}
    return Demands({_ENCRYPTION[name][0]: value for name, value in given.items()}, headers, checksum, customer_key=False)


_SSE = "x-amz-server-side-encryption"
_ENCRYPTION = {
    "server_side_encryption": ("ServerSideEncryption", _SSE),
    "sse_kms_key_id": ("SSEKMSKeyId", f"{_SSE}-aws-kms-key-id"),
    "sse_bucket_key_enabled": ("BucketKeyEnabled", f"{_SSE}-bucket-key-enabled"),
}


def _lowered(endpoint: str) -> str:
    """Return an endpoint with its host in lower case, as clients send it."""
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc.lower()).geturl() if endpoint else ""


class S3Place(NamedTuple):
    """What a client of botocore needs to know of a store.

    Attributes:
        region: Also of what is signed.
        endpoint: Without the bucket; ``None`` for Amazon's own.
        style: How a bucket is addressed: ``virtual`` (in the host) or ``path``.
    """

    region: str
    endpoint: str | None
    style: str


def place_of(store: Any) -> S3Place:
    """Return where a store on S3 is."""
    config = dict(store.config)
    virtual = is_on(config, "virtual_hosted_style_request")
    endpoint = _lowered(endpoint_of(store)) or None
    if endpoint and virtual:  # obstore wants the bucket in such an endpoint, botocore adds it
        endpoint = endpoint.replace(f"//{config['bucket']}.", "//", 1)
    region = _option(config, "region") or _option(config, "default_region") or "us-east-1"
    return S3Place(region, endpoint, "virtual" if virtual else "path")


# -- the native runtime: after a fork, and when the interpreter ends ------------------------------------------------------


_SETTLING = 0.02

_used = False
_dead = False


def _after_fork() -> None:
    global _dead  # noqa: PLW0603 - one native runtime per process, so one flag per process
    _dead = _used


if hasattr(os, "register_at_fork"):  # absent where there is no fork
    os.register_at_fork(after_in_child=_after_fork)


@atexit.register
def _settle() -> None:
    """Let native threads finish at exit, or they would abort the process."""
    if _used and not _dead:
        time.sleep(_SETTLING)


def enter(operation: str, backend: str, path: str) -> None:
    """Note that the native runtime is used, or refuse after a fork.

    Raises:
        ForkedProcessError: A parent of this process had used obstore before it forked.
    """
    global _used  # noqa: PLW0603
    if _dead:
        msg = (
            "obstore was used before os.fork(), so its native runtime would hang in this child process; use backends only "
            "after the fork (gunicorn: without --preload), or start processes with 'spawn' or 'forkserver'"
        )
        raise ForkedProcessError(msg, operation=operation, backend=backend, path=path)
    _used = True
