"""Options in the URL of a backend: typed and checked, and nothing of a URL is dropped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from filerow import FileObject, StorageRegistry, storages
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.obstore import ObstoreBackend
from tests.servers import azurite

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "shh-secret"}
KEY = "AccountKey=c2VjcmV0"
SECRET = "EvOKdnJvzJQNuISvPF6DstAWyVIvoFtO"


@pytest.fixture(autouse=True)
def _no_backends() -> Iterator[None]:
    storages.clear_backends()
    yield
    storages.clear_backends()


@pytest.fixture
def registry() -> StorageRegistry:
    return StorageRegistry()


def test_local_options_are_read_from_the_query(registry: StorageRegistry, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/a%23b?fsync=false&base_url=%2Ffiles&secret={SECRET}&public_url=https://x.example/files"
    backend = registry.register_backend(url, key="docs")
    assert isinstance(backend, LocalBackend)
    assert backend.root == tmp_path / "a#b"
    assert backend.own_urls is not None
    assert backend.own_urls.base_url == "/files"
    assert backend.capabilities.sign_get
    backend.put("x", b"x")
    assert backend.public_urls is not None


def test_memory_options_are_read_from_the_query(registry: StorageRegistry) -> None:
    backend = registry.register_backend("memory://?base_url=/files&development=true", key="docs")
    assert backend.capabilities.sign_put


def test_s3_options_are_read_from_the_query(registry: StorageRegistry) -> None:
    url = "s3://bucket/prefix?aws_region=eu-west-3&timeout=20&public_endpoint=https://files.example"
    backend = registry.register_backend(url, key="docs", aws_endpoint="http://localhost:9", **KEYS)
    assert isinstance(backend, ObstoreBackend)
    assert backend.timeout == 20
    assert backend.store.config["region"] == "eu-west-3"
    assert backend.store.prefix == "prefix"
    assert "files.example" in backend.sign("x", _get()).partition("?")[0]
    assert "eu-west-3" in backend.sign("x", _get())


def _get() -> Any:
    from filerow.backends.base import SignRequest

    return SignRequest("GET", 60)


def test_fsspec_options_have_the_types_of_the_filesystem(registry: StorageRegistry, tmp_path: Path) -> None:
    backend = registry.register_backend(f"local://{tmp_path}?auto_mkdir=true&timeout=7.5", key="docs")
    assert isinstance(backend, FSSpecBackend)
    assert backend.fs.auto_mkdir is True
    backend.put("a/b", b"x")
    assert (tmp_path / "a" / "b").read_bytes() == b"x"
    with pytest.raises(ValueError, match="'auto_mkdir' must be true or false, not '2'"):
        registry.register_backend(f"local://{tmp_path}?auto_mkdir=2", key="other")


@pytest.mark.parametrize("text", ["1", "0", "Yes", "no", "ON", "off"])
def test_a_switch_takes_the_words_of_environments(registry: StorageRegistry, tmp_path: Path, text: str) -> None:
    environ = {"FILEROW_BACKENDS__B__URL": f"local://{tmp_path}", "FILEROW_BACKENDS__B__AUTO_MKDIR": text}
    backends = [registry.register_backend(f"local://{tmp_path}?auto_mkdir={text}", key="a")]
    backends += registry.configure(environ=environ).values()
    for backend in backends:
        assert isinstance(backend, FSSpecBackend)
        assert backend.fs.auto_mkdir is (text.lower() in {"1", "yes", "on"})


REFUSED = [
    ("s3://KEY:shh-secret@bucket/x", "credentials do not go before the host"),
    ("s3://shh-secret@bucket/x", "credentials do not go before the host"),
    ("file://user:shh-secret@localhost/d", "credentials do not go before the host"),
    ("abfss://box:shh-secret@account.dfs.core.windows.net/x", "credentials do not go before the host"),
    ("https://user:shh-secret@host/x", "credentials do not go before the host"),
    ("s3://bucket/x#shh-secret", "no fragment; write %23"),
    ("file:///d#shh-secret", "no fragment; write %23"),
    ("https://host/x?token=shh-secret", "takes no query"),
    ("file:///d?fsync=shh-secret", "'fsync' must be true or false"),
    ("file:///d?root=shh-secret", "has no option 'root'; it takes base_url, development, fsync, public_url, secret"),
    ("file:///d?Fsync=shh-secret", "has no option 'Fsync'"),
    ("memory://?fsync=shh-secret", "has no option 'fsync'"),
    ("memory://place?base_url=shh-secret", "memory has no address"),
    ("s3://b?timeout=shh-secret", "'timeout' must be a number"),
    ("s3://b?key=shh-secret", "has no option 'key'"),
    ("s3://b?timeout=1&timeout=2", "has the option 'timeout' twice"),
    ("local:///d?storage_options=shh-secret", "'storage_options' cannot be written in a URL"),
    ("s3://b?no_such_option=shh-secret", "no_such_option"),
]


@pytest.mark.parametrize(("url", "message"), REFUSED)
def test_what_would_be_dropped_is_refused(url: str, message: str, registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        registry.register_backend(url, key="docs")
    if "must be" not in message:
        assert "shh-secret" not in str(refused.value)
    assert not registry.registered_backends()


def test_an_option_is_given_once(registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="'fsync', which is also given as an argument"):
        registry.register_backend("file:///d?fsync=false", key="docs", fsync=True)


def test_a_url_without_a_key_is_shown_without_its_secrets(registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="needs a key") as refused:
        registry.register_backend("s3://u:shh-secret@bucket?aws_secret_access_key=shh-secret")
    assert "shh-secret" not in str(refused.value)


def test_an_abfss_container_stays_before_the_host(registry: StorageRegistry) -> None:
    url = "abfss://box@account.dfs.core.windows.net/pre"
    backend = registry.register_backend(url, key="docs", account_key="c2VjcmV0")
    assert backend.protocol == "az"


def test_pydantic_secrets_are_taken_and_never_shown(registry: StorageRegistry) -> None:
    secret = SecretStr("shh-secret")
    backend = registry.register_backend(
        "s3://bucket", key="docs", aws_access_key_id=SecretStr("AKIDEXAMPLE"), aws_secret_access_key=secret
    )
    assert "X-Amz-Signature" in backend.sign("x", _get())
    assert "shh-secret" not in repr(backend)
    memory = registry.register_backend("memory://", key="own", base_url="/files", secret=SecretStr(SECRET))
    assert "signature=" in memory.sign("x", _get())


@pytest.mark.servers("azurite")
@pytest.mark.parametrize("make", [ObstoreBackend, FSSpecBackend])
def test_azure_connection_strings_work(make: Any, azurite_server: azurite.AzuriteServer) -> None:
    text = azurite_server.connection_string
    container = azurite_server.make_container()
    storages.register_backend(make("azure", f"az://{container}", connection_string=SecretStr(text)))
    file = FileObject("azure", "a.txt", content=b"abc").save()
    assert file.get_content() == b"abc"
    assert file.sign().startswith("http")


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        (f"DefaultEndpointsProtocol=https;AccountName=acc;{KEY};EndpointSuffix=core.windows.net", "acc.blob.core.windows.net"),
        (f"AccountName=acc;{KEY};EndpointSuffix=core.chinacloudapi.cn", "acc.blob.core.chinacloudapi.cn"),
        ("UseDevelopmentStorage=true", "127.0.0.1:10000/devstoreaccount1"),
        (f"BlobEndpoint=https://acc.blob.core.windows.net;{KEY}", "acc.blob.core.windows.net"),
    ],
)  # fmt: skip
def test_connection_strings_name_the_endpoint(text: str, endpoint: str, registry: StorageRegistry) -> None:
    backend = registry.register_backend(f"az://box?connection_string={quote(text)}", key="docs")
    assert f"//{endpoint}/" in backend.sign("x", _get())


def test_a_broken_connection_string_is_refused_without_its_key(registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="no AccountName and no BlobEndpoint") as refused:
        registry.register_backend("az://box", key="docs", connection_string="AccountKey=shh-secret")
    assert "shh-secret" not in str(refused.value)
