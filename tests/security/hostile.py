"""Strings that lead out of a backend where something believes them, and stores with a canary beside their root."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest

from filerow.backends.base import StorageBackend
from filerow.backends.fsspec import FSSpecBackend
from filerow.backends.local import LocalBackend
from filerow.backends.memory import MemoryBackend
from filerow.backends.obstore import ObstoreBackend
from tests.backends.directories import hold
from tests.backends.stores import s3_options, s3fs_options, shared

CANARY = b"the canary beside the root: nobody may read this"
INSIDE = b"an object that may be read"
SECRET = "a secret of the tests of security"
TREE = {"canary.txt": CANARY, "outside/secret": CANARY, "rooted/canary.txt": CANARY, "passwd": CANARY}
"""What lies beside the root. One folder's name begins like the root's."""

_CLIMBS = {
    "up": "../canary.txt",
    "up_into_a_folder": "../outside/secret",
    "up_into_a_namesake": "../rooted/canary.txt",
    "up_far": "../" * 40 + "canary.txt",
    "up_from_a_folder": "a/../../canary.txt",
    "up_with_dots_before": "./../canary.txt",
    "up_with_empty_segments": "a//..//..//canary.txt",
    "up_with_slashes": "..//canary.txt",
    "up_at_the_end": "a/..",
    "up_alone": "..",
    "here": ".",
    "backslashes": "..\\canary.txt",
    "backslashes_in_a_folder": "a\\..\\..\\canary.txt",
    "mixed_separators": "a/..\\../canary.txt",
    "nul_behind": "../canary.txt\0.png",
    "nul_before": "\0../canary.txt",
}
_LOOKALIKES = {
    "percent_dots": "%2e%2e/canary.txt",
    "percent_slash": "..%2fcanary.txt",
    "percent_all": "%2e%2e%2fcanary.txt",
    "percent_twice": "%252e%252e%252fcanary.txt",
    "percent_backslash": "..%5ccanary.txt",
    "overlong_utf8": "%c0%ae%c0%ae/canary.txt",
    "full_width_dots": "\uff0e\uff0e/canary.txt",
    "division_slash": "..\u2215canary.txt",
    "right_to_left": "\u202etxt.yranac/../canary.txt",
    "four_dots": "....//canary.txt",
    "path_parameter": "..;/canary.txt",
    "newline": "..\n/canary.txt",
    "surrogate": "\udcff/../canary.txt",
    "tilde": "~/canary.txt",
    "tilde_root": "~root/canary.txt",
    "variable": "$HOME/canary.txt",
    "glob": "*",
    "glob_up": "../*",
    "url": "memory://canary.txt",
    "chained_url": "file://x::memory://canary.txt",
    "device": "CON",
    "device_with_extension": "aux.png",
    "drive": "C:\\canary.txt",
    "unc": "\\\\server\\share\\canary.txt",
    "stream": "canary.txt::$DATA",
    "overlong": "x" * 5000,
    "overlong_segments": "a/" * 2000 + "a",
    "empty": "",
    "slash": "/",
}
STRINGS = _CLIMBS | _LOOKALIKES | {"absolute": "{outside}/canary.txt", "file_url": "file://{outside}/canary.txt"}
"""``{outside}`` is where the canaries are."""

SHORT = [name for name in STRINGS if not name.startswith("overlong")]


class Store(NamedTuple):
    """A backend whose root has something beside it.

    Attributes:
        backend: The backend.
        outside: Where the canaries are, as the store's own absolute path.
        beside: Returns all that is outside of the root, by name.
        inside: Returns the paths in the root.
    """

    backend: StorageBackend
    outside: str
    beside: Callable[[], dict[str, bytes]]
    inside: Callable[[], set[str]]

    def string(self, name: str) -> str:
        """Return one of the hostile strings, for this place."""
        return STRINGS[name].replace("{outside}", self.outside)

    def check(self, *results: object) -> None:
        """Check that nothing outside was changed, and that no result has something of it."""
        assert self.beside() == TREE
        for result in results:
            assert CANARY not in (result if isinstance(result, bytes) else repr(result).encode())


def _files(top: Path, *, but: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(top)): path.read_bytes()
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.relative_to(top).parts[0] != but
    }


def _folder(request: pytest.FixtureRequest, make: Callable[[Path], StorageBackend]) -> Store:
    top = Path(request.getfixturevalue("tmp_path")) / "store"
    for name, content in TREE.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)
    root = top / "root"
    root.mkdir()
    return Store(make(root), str(top), lambda: _files(top, but="root"), lambda: set(_files(root, but="")))


def _local(request: pytest.FixtureRequest) -> Store:
    return _folder(request, lambda root: LocalBackend("docs", root, fsync=False, base_url="/files", secret=SECRET))


def _local_by_path(request: pytest.FixtureRequest) -> Store:  # as on Windows
    hold(request.getfixturevalue("monkeypatch"), by_descriptor=False)
    return _local(request)


def _fsspec_file(request: pytest.FixtureRequest) -> Store:
    return _folder(request, lambda root: FSSpecBackend("docs", "file", prefix=str(root)))


def _obstore_file(request: pytest.FixtureRequest) -> Store:
    return _folder(request, lambda root: ObstoreBackend("docs", f"file://{quote(str(root))}"))


def _beside(whole: StorageBackend, backend: StorageBackend, outside: str) -> Store:
    """Return a store without folders, which is seen whole by another backend."""
    for name, content in TREE.items():
        whole.put(name, content)

    def beside() -> dict[str, bytes]:
        return {info.path: whole.read(info.path) for info in whole.list() if not info.path.startswith("root/")}

    return Store(backend, outside, beside, lambda: {info.path for info in backend.list()})


def _fsspec_memory(request: pytest.FixtureRequest) -> Store:
    top = f"/{uuid.uuid4().hex}"
    backend = FSSpecBackend("docs", "memory", prefix=f"{top}/root")
    return _beside(FSSpecBackend("whole", "memory", prefix=top), backend, top)


def _s3(request: pytest.FixtureRequest) -> Store:
    server: Any = request.getfixturevalue("s3_server")
    top = f"{server.shared_bucket}/{server.make_prefix()}".rstrip("/")
    whole, backend = (ObstoreBackend(key, f"s3://{top}{end}", **s3_options(server)) for key, end in _KEYS)
    return _beside(whole, backend, f"/{top}")


def _fsspec_s3(request: pytest.FixtureRequest) -> Store:
    server: Any = request.getfixturevalue("s3_server")
    top = f"{server.shared_bucket}/{server.make_prefix()}".rstrip("/")
    fs = shared(f"s3://{server.shared_bucket}", **s3fs_options(server)).fs
    return _beside(FSSpecBackend("whole", fs, prefix=top), FSSpecBackend("docs", fs, prefix=f"{top}/root"), f"/{top}")


_KEYS = (("whole", ""), ("docs", "/root"))


def _memory(request: pytest.FixtureRequest) -> Store:
    """Return a dictionary, in which every path is one of its own; there is nothing beside it."""
    backend = MemoryBackend("docs", base_url="/files", secret=SECRET)
    return Store(backend, "/srv", lambda: dict(TREE), lambda: {info.path for info in backend.list()})


STORES: dict[str, Callable[[pytest.FixtureRequest], Store]] = {
    "local": _local,
    "local-by-path": _local_by_path,
    "memory": _memory,
    "fsspec-file": _fsspec_file,
    "fsspec-memory": _fsspec_memory,
    "obstore-local": _obstore_file,
    "obstore-s3": _s3,
    "fsspec-s3": _fsspec_s3,
}
