"""Backends from settings: a mapping, TOML, the environment, pydantic-settings."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import AnyUrl, BaseModel, ConfigDict, SecretBytes, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from filerow import StorageRegistry
from filerow.backends.base import SignRequest
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from filerow.exceptions import BackendExistsError, ConfigurationError

SECRET = "EvOKdnJvzJQNuISvPF6DstAWyVIvoFtO"
S3 = {"url": "s3://bucket/docs", "region": "eu-west-1", "aws_access_key_id": "AKID", "aws_secret_access_key": SECRET}


@pytest.fixture
def registry() -> StorageRegistry:
    return StorageRegistry()


def test_a_mapping_registers_its_backends(registry: StorageRegistry, tmp_path: Path) -> None:
    url = tmp_path.as_uri()
    made = registry.configure(
        {"docs": S3, "memory": "memory://", "files": {"url": url, "fsync": "False", "deletes": False, "default": "true"}}
    )
    assert registry.registered_backends() == list(made) == ["docs", "memory", "files"]
    assert isinstance(made["docs"], ObstoreBackend)
    assert "eu-west-1" in made["docs"].sign("x", SignRequest("GET", 60))
    assert isinstance(made["files"], LocalBackend)
    assert registry.get_default_backend() is made["files"]
    assert not registry.may_delete("files")
    assert registry.may_delete("docs")


def test_options_of_fsspec_are_typed(registry: StorageRegistry, tmp_path: Path) -> None:
    made = registry.configure({"docs": {"url": f"local://{tmp_path}", "auto_mkdir": "true", "timeout": "20", "key": None}})
    made["docs"].put("a/b", b"x")
    assert isinstance(made["docs"], FSSpecBackend)
    assert (tmp_path / "a" / "b").read_bytes() == b"x"


TOML = f"""
[tool.filerow.backends]
avatars = "memory://?base_url=/files&secret={SECRET}"

[tool.filerow.backends.docs]
url = "s3://bucket/docs"
region = "eu-west-1"
timeout = 20
client_options = {{ pool_max_idle_per_host = "2" }}

[files.staging]
docs = {{ url = "memory://", deletes = false }}
"""


def test_backends_are_read_from_toml(registry: StorageRegistry, tmp_path: Path) -> None:
    file = tmp_path / "pyproject.toml"
    file.write_text(TOML)
    environ = {"FILEROW_BACKENDS__DOCS__AWS_ACCESS_KEY_ID": "AKID", "FILEROW_BACKENDS__DOCS__AWS_SECRET_ACCESS_KEY": SECRET}
    made = registry.configure_from_toml(file, environ=environ)
    assert sorted(made) == ["avatars", "docs"]
    assert "signature=" in made["avatars"].sign("x", SignRequest("GET", 60))
    assert "AKID" in made["docs"].sign("x", SignRequest("GET", 60))


def test_each_environment_has_a_section(registry: StorageRegistry, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(TOML)
    made = registry.configure_from_toml(file, "files.staging")
    assert isinstance(made["docs"], MemoryBackend)
    assert not registry.may_delete("docs")


def test_variables_name_backends_and_options(registry: StorageRegistry, tmp_path: Path) -> None:
    environ = {
        "FILEROW_BACKENDS__DOCS__URL": "s3://bucket/docs",
        "FILEROW_BACKENDS__DOCS__REGION": "eu-west-1",
        "FILEROW_BACKENDS__DOCS__ACCESS_KEY_ID": "AKID",
        "FILEROW_BACKENDS__DOCS__SECRET_ACCESS_KEY": SECRET,
        "FILEROW_BACKENDS__DOCS__CLIENT_OPTIONS__TIMEOUT": "7s",
        "FILEROW_BACKENDS__DOCS__DEFAULT": "true",
        "FILEROW_BACKENDS__USER_FILES": tmp_path.as_uri(),
        "FILEROW_BACKENDS__USER_FILES__FSYNC": "false",
        "FILEROW_BACKENDS__USER_FILES__BASE_URL": "",
        "FILEROW_URL": "sqlite://",
    }
    made = registry.configure(environ=environ)
    assert sorted(made) == ["docs", "user_files"]
    assert "eu-west-1" in made["docs"].sign("x", SignRequest("GET", 60))
    assert registry.get_default_backend() is made["docs"]


def test_options_of_clients_may_be_text_or_numbers(registry: StorageRegistry) -> None:
    environ = {
        "FILEROW_BACKENDS__DOCS__URL": "s3://bucket/docs",
        "FILEROW_BACKENDS__DOCS__RETRY_CONFIG__MAX_RETRIES": "2",
        "FILEROW_BACKENDS__DOCS__RETRY_CONFIG__RETRY_TIMEOUT": "20s",
        "FILEROW_BACKENDS__DOCS__RETRY_CONFIG__BACKOFF__INIT_BACKOFF": "100ms",
        "FILEROW_BACKENDS__DOCS__RETRY_CONFIG__BACKOFF__MAX_BACKOFF": "3",
        "FILEROW_BACKENDS__DOCS__RETRY_CONFIG__BACKOFF__BASE": "2.5",
        "FILEROW_BACKENDS__DOCS__CLIENT_OPTIONS__TIMEOUT": "7",
    }
    numbers = {"client_options": {"timeout": 7, "connect_timeout": "1h 30min", "pool_max_idle_per_host": 4, "allow_http": True}}
    made = registry.configure({"files": {"url": "s3://bucket/files", **numbers}}, environ=environ)
    store = cast("ObstoreBackend", made["docs"]).store
    assert store.retry_config == {
        "max_retries": 2,
        "retry_timeout": timedelta(seconds=20),
        "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=3), "base": 2.5},
    }
    assert store.client_options["timeout"] == "7s"
    assert cast("ObstoreBackend", made["files"]).store.client_options["connect_timeout"] == "1h 30min"
    for name, value in (("MAX_RETRIES", "two"), ("RETRY_TIMEOUT", "soon"), ("BACKOFF__BASE", "x")):
        wrong = {"FILEROW_BACKENDS__DOCS__URL": "s3://b", f"FILEROW_BACKENDS__DOCS__RETRY_CONFIG__{name}": value}
        with pytest.raises(ConfigurationError, match=rf"retry_config\.{name.lower().replace('__', '.')} must be"):
            StorageRegistry().configure(environ=wrong)


def test_variables_win_over_settings(registry: StorageRegistry) -> None:
    environ = {"SHOP__USER_FILES__URL": "memory://", "SHOP__USER_FILES__DELETES": "true"}
    made = registry.configure({"user-files": {"url": "s3://bucket", "deletes": False}}, environ=environ, prefix="SHOP__")
    assert isinstance(made["user-files"], MemoryBackend)
    assert registry.may_delete("user-files")


class Backend(BaseModel):
    model_config = ConfigDict(extra="allow")

    url: AnyUrl | str
    region: str | None = None
    secret: SecretStr | None = None
    secret_access_key: SecretStr | None = None


def test_pydantic_settings_are_taken_as_they_are(registry: StorageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_prefix="APP_", env_nested_delimiter="__")

        backends: dict[str, Backend]

    monkeypatch.setenv("APP_BACKENDS__DOCS__URL", "s3://bucket/docs")
    monkeypatch.setenv("APP_BACKENDS__DOCS__REGION", "eu-west-1")
    monkeypatch.setenv("APP_BACKENDS__DOCS__ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("APP_BACKENDS__DOCS__SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("APP_BACKENDS__OWN__URL", "memory://")
    monkeypatch.setenv("APP_BACKENDS__OWN__SECRET", SECRET)
    monkeypatch.setenv("APP_BACKENDS__OWN__BASE_URL", "/files")
    monkeypatch.setenv("APP_BACKENDS__OWN__DEVELOPMENT", "false")
    settings = Settings()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    made = registry.configure(settings.backends)
    assert "eu-west-1" in made["docs"].sign("x", SignRequest("GET", 60))
    assert "signature=" in made["own"].sign("x", SignRequest("GET", 60))
    assert SECRET not in f"{made} {settings} {registry.__dict__}"


def test_a_plain_dict_of_pydantic_settings_is_typed(registry: StorageRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    class Files(BaseModel):
        docs: dict[str, Any]

    class Settings(BaseSettings):
        model_config = SettingsConfigDict(env_nested_delimiter="__")

        files: Files

    monkeypatch.setenv("FILES__DOCS__URL", "file:///tmp/filerow-docs")
    monkeypatch.setenv("FILES__DOCS__FSYNC", "perhaps")
    with pytest.raises(ConfigurationError, match=r"configure\(\): docs\.fsync must be true or false"):
        registry.configure(Settings().files)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


WRONG: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"docs": {"url": "memory://", "base_url": 5}}, {}, r"configure\(\): docs\.base_url must be text"),
    ({"docs": {"url": "s3://b", "timeout": "soon"}}, {}, r"docs\.timeout must be a number"),
    ({"docs": {"url": "s3://b", "timeout": True}}, {}, r"docs\.timeout must be a number"),
    ({"docs": {"url": "s3fs://b"}}, {"X__DOCS__STORAGE_OPTIONS": "a"}, r"X__DOCS__STORAGE_OPTIONS must be a table"),
    ({"docs": {"url": "file:///d", "fsink": False}}, {}, r"docs\.fsink: .* no option 'fsink'; it takes base_url"),
    ({}, {"X__DOCS__URL": "file:///d", "X__DOCS__FSINK": "1"}, r"X__DOCS__FSINK: .* no option 'fsink'"),
    ({"docs": {"url": "s3://b", "fs": "/e"}}, {}, r"docs\.fs: .*its url says it"),
    ({"docs": {"url": "file:///d", "key": "e"}}, {}, r"docs\.key: the key is the name of the table"),
    ({"docs": {"region": "x"}}, {}, r"backend 'docs' has no url"),
    ({}, {"X__DOCS__REGION": "x"}, r"X__DOCS__URL: backend 'docs' has no url"),
    ({}, {"X__DOCS__": "x"}, r"X__DOCS__ must be X__KEY__URL"),
    ({}, {}, r"no backend is named and no variable begins with X__"),
    ({"docs": {"url": f"AccountKey={SECRET}"}}, {}, r"docs\.url is not a URL"),
    ({"docs": f"s3://AKID:{SECRET}@bucket"}, {}, r"backend 'docs': .*credentials do not go before the host"),
    ({"docs": 5}, {}, r"docs\.url must be a URL as text, not int"),
    ({"a": {"url": "memory://", "default": True}, "b": {"url": "memory://", "default": True}}, {}, "'a' and 'b' are both"),
    ({"a": {"url": "memory://", "default": SECRET}}, {}, r"a\.default must be true or false"),
    ({"docs": {"url": "s3://b", "region": "x"}}, {"X__DOCS__REGION__A": "x"}, r"X__DOCS__REGION__A needs a table"),
    ({"docs": {"url": "s3://b", "nonsense": SECRET}}, {}, r"backend 'docs': cannot build the store"),
    (
        {"docs": {"url": "s3://b", "retry_config": SECRET}},
        {},
        r"backend 'docs': retry_config must be a table of options, not str",
    ),
    ({}, {"X__DOCS__URL": "s3://b", "X__DOCS__CLIENT_OPTIONS": SECRET}, r"backend 'docs': client_options must be a table"),
    ({"docs": {"url": "s3://b", "credential_provider": SECRET}}, {}, r"credential_provider= is a function .*, not str"),
    ({"a-b": "memory://", "a_b": "memory://"}, {"X__A_B__DELETES": "0"}, r"X__A_B__DELETES could mean .*'a-b' or 'a_b'"),
    ({}, {"X__DOCS": f'"s3://b?secret_access_key={SECRET}"'}, r"X__DOCS is not a URL"),
]


@pytest.mark.parametrize(("given", "environ", "message"), WRONG)
def test_a_wrong_setting_is_named_without_its_value(
    registry: StorageRegistry, given: dict[str, Any], environ: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message) as refused:
        registry.configure({"good": "memory://", **given} if given else {}, environ=environ, prefix="X__")
    assert SECRET not in str(refused.value)
    assert not registry.registered_backends()


def test_blanks_around_a_variable_do_not_count(registry: StorageRegistry) -> None:
    environ = {
        "FILEROW_BACKENDS__DOCS": " memory://\r\n",
        "FILEROW_BACKENDS__DOCS__DELETES": "no\n",
        "FILEROW_BACKENDS__OLD": " ",
    }
    made = registry.configure(environ=environ)
    assert list(made) == ["docs"]
    assert not registry.may_delete("docs")


def test_no_url_that_is_none_shows_its_secrets(registry: StorageRegistry) -> None:
    with pytest.raises(ValueError, match="is not a URL") as refused:
        registry.register_backend(f'"s3://b?secret_access_key={SECRET}"', key="docs")
    assert SECRET not in str(refused.value)


def test_secret_bytes_of_pydantic_are_text(registry: StorageRegistry) -> None:
    made = registry.configure({"docs": {**S3, "aws_secret_access_key": SecretBytes(SECRET.encode())}})
    assert made["docs"].sign("x", SignRequest("GET", 60, signed_at=1.0)) == StorageRegistry().configure({"docs": S3})[
        "docs"
    ].sign("x", SignRequest("GET", 60, signed_at=1.0))


def test_a_toml_file_of_windows_may_begin_with_a_mark(registry: StorageRegistry, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(TOML, "utf-8-sig")
    assert sorted(registry.configure_from_toml(file)) == ["avatars", "docs"]


def test_what_is_not_a_mapping_is_refused(registry: StorageRegistry) -> None:
    with pytest.raises(ConfigurationError, match="must be a mapping or a pydantic model, not list"):
        registry.configure(["memory://"])
    with pytest.raises(ConfigurationError, match="key of a backend must be text, not int"):
        registry.configure({5: "memory://"})


def test_a_taken_key_registers_nothing(registry: StorageRegistry) -> None:
    registry.configure({"docs": "memory://"})
    with pytest.raises(BackendExistsError, match="registered as 'docs' already"):
        registry.configure({"new": "memory://", "docs": "memory://"})
    assert registry.registered_backends() == ["docs"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("tool.fileroww", r"no table \[tool.fileroww\]"),
        ("tool.filerow.backends.avatars", "must be a table, not str"),
    ],
)
def test_a_missing_section_is_named(registry: StorageRegistry, tmp_path: Path, section: str, message: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(TOML)
    with pytest.raises(ConfigurationError, match=message):
        registry.configure_from_toml(file, section)
    file.write_text(f"secret = {SECRET}")
    with pytest.raises(ConfigurationError, match="is not TOML") as refused:
        registry.configure_from_toml(file, section)
    assert SECRET not in str(refused.value)
