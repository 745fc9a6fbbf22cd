"""Backends by key: from instances and URLs, and what goes wrong said clearly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from filerow import FileObject, StorageRegistry, storages
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import BackendExistsError, BackendNotFoundError, FilerowError, RegistryError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_backends() -> Iterator[None]:
    storages.clear_backends()
    yield
    storages.clear_backends()


@pytest.fixture
def registry() -> StorageRegistry:
    return StorageRegistry()


def test_an_instance_is_registered_under_its_own_key(registry: StorageRegistry) -> None:
    backend = MemoryBackend("docs")
    assert registry.register_backend(backend) is backend
    assert registry.get_backend("docs") is backend
    assert registry.is_registered("docs")
    assert not registry.is_registered("other")
    assert registry.register_backend(backend, key="docs") is backend, "once more changes nothing"
    with pytest.raises(ValueError, match="own key is 'docs'"):
        registry.register_backend(MemoryBackend("docs"), key="other")


def test_registries_know_nothing_of_each_other(registry: StorageRegistry) -> None:
    registry.register_backend(MemoryBackend("mine"))
    assert not storages.is_registered("mine")


URLS: list[tuple[str, type, str]] = [
    ("memory://", MemoryBackend, "memory"),
    ("MEMORY://", MemoryBackend, "memory"),
    ("s3://bucket/prefix", ObstoreBackend, "s3"),
    ("gs://bucket/prefix", ObstoreBackend, "gs"),
    ("az://container/prefix", ObstoreBackend, "az"),
]
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"aws_access_key_id": "a", "aws_secret_access_key": "s", "aws_endpoint": "http://localhost:9000"},
    "gs": {"skip_signature": True},
    "az": {"account_name": "a", "account_key": "c2VjcmV0"},
}


@pytest.mark.parametrize(("url", "kind", "protocol"), URLS)
def test_a_url_makes_a_backend(url: str, kind: type, protocol: str, registry: StorageRegistry) -> None:
    backend = registry.register_backend(url, key="docs", **OPTIONS.get(protocol, {}))
    assert type(backend) is kind
    assert backend.protocol == protocol
    assert backend.key == "docs"
    assert registry.get_backend("docs") is backend


def test_a_file_url_is_a_directory(registry: StorageRegistry, tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    for key, url in (("a", f"file://{tmp_path}/with%20space"), ("b", f"file://localhost{tmp_path}/with%20space")):
        backend = registry.register_backend(url, key=key, fsync=False)
        assert isinstance(backend, LocalBackend)
        assert backend.root == folder
        assert backend.protocol == "file"


@pytest.mark.parametrize("url", ["file://", "file://host/share", "file:"])
def test_a_file_url_without_an_absolute_path_is_refused(url: str, registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="file:///absolute/path"):
        registry.register_backend(url, key="docs")
    assert registry.registered_backends() == []


@pytest.mark.parametrize("url", ["", "/srv/files", "files"])
def test_what_is_not_a_url_is_refused(url: str, registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        registry.register_backend(url, key="docs")


def test_a_url_needs_a_key(registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="key='docs'"):
        registry.register_backend("memory://")


@pytest.mark.parametrize("key", [" docs", "docs ", "\n"])
def test_a_key_is_plain_text(key: str, registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="key must be"):
        registry.register_backend("memory://", key=key)


@pytest.mark.parametrize("wrong", [MemoryBackend, 3, None, object()], ids=["class", "int", "None", "object"])
def test_only_an_instance_of_a_backend_is_registered(wrong: Any, registry: StorageRegistry) -> None:
    with pytest.raises(TypeError, match="takes a backend"):
        registry.register_backend(wrong)
    assert registry.registered_backends() == []


def test_duplicate_key_is_refused_with_a_remedy(registry: StorageRegistry) -> None:
    first = registry.register_backend("memory://", key="docs")
    with pytest.raises(BackendExistsError, match="unregister_backend") as refused:
        registry.register_backend(MemoryBackend("docs"))
    assert isinstance(refused.value, ValueError)
    assert isinstance(refused.value, RegistryError | FilerowError)
    assert registry.get_backend("docs") is first


def test_an_unknown_key_says_which_are_known(registry: StorageRegistry) -> None:
    with pytest.raises(BackendNotFoundError, match=r"'docs' \(registered: none at all\)") as refused:
        registry.get_backend("docs")
    assert isinstance(refused.value, LookupError)
    assert str(refused.value).startswith("no backend"), "not in quotes, as a KeyError would be"
    registry.register_backend("memory://", key="a")
    registry.register_backend("memory://", key="b")
    with pytest.raises(BackendNotFoundError, match="registered: 'a', 'b'"):
        registry.get_backend("docs")
    with pytest.raises(BackendNotFoundError):
        registry.unregister_backend("docs")


def test_several_backends_are_listed_in_their_order(registry: StorageRegistry) -> None:
    for key in ("c", "a", "b"):
        registry.register_backend("memory://", key=key)
    assert registry.registered_backends() == ["c", "a", "b"]
    registry.unregister_backend("a")
    assert registry.registered_backends() == ["c", "b"]
    registry.register_backend("memory://", key="a")
    registry.clear_backends()
    assert registry.registered_backends() == []


def test_the_only_backend_is_the_default(registry: StorageRegistry) -> None:
    with pytest.raises(BackendNotFoundError, match="no default"):
        registry.get_default_backend()
    only = registry.register_backend("memory://", key="a")
    assert registry.get_default_backend() is only
    assert registry.resolve("") is only
    registry.register_backend("memory://", key="b")
    with pytest.raises(BackendNotFoundError, match="set_default_backend"):
        registry.resolve("")


def test_the_default_is_the_one_set(registry: StorageRegistry) -> None:
    registry.set_default_backend("b")
    with pytest.raises(BackendNotFoundError, match="'b'"):
        registry.get_default_backend()
    registry.register_backend("memory://", key="a")
    chosen = registry.register_backend("memory://", key="b")
    assert registry.get_default_backend() is chosen
    assert registry.resolve("a").key == "a"
    registry.unregister_backend("b")
    assert registry.get_default_backend().key == "a"
    registry.set_default_backend("a")
    registry.clear_backends()
    registry.register_backend("memory://", key="z")
    assert registry.get_default_backend().key == "z"


def test_a_file_finds_its_backend_when_it_is_needed() -> None:
    file = FileObject("later", "a.txt", content=b"abc")
    with pytest.raises(BackendNotFoundError, match="'later'"):
        file.save()
    storages.register_backend("memory://", key="later")
    assert file.save().get_content() == b"abc"


async def test_many_files_of_several_backends_are_signed_in_order() -> None:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "secret", "aws_endpoint": "http://127.0.0.1:9"}
    for key in ("one", "two"):
        storages.register_backend(f"s3://bucket-{key}", key=key, **keys)
    files = [FileObject(("one", "two")[n % 2], to_filename=f"folder/{n}.txt") for n in range(5)]
    for urls in (storages.sign_many(files, expires_in=60), await storages.sign_many_async(files, expires_in=60)):
        for file, url in zip(files, urls, strict=True):
            assert f"bucket-{file.backend_key}/{file.path}?" in url
            assert "X-Amz-Expires=60" in url
