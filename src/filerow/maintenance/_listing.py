"""The folders of generated paths, and how they are listed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from filerow._execution.batch import call, first, in_greenlet
from filerow._orm.references import FileColumn
from filerow._paths import CLAIM_LIFE, CLAIMS, PROBES, RESERVED, STAGING, folders_of, generated_at
from filerow._recipes import VARIANTS, parted_variant
from filerow._registry import storages
from filerow.backends.base import StorageBackend

STAGED = "staged"
"""What the folders of files that no column owned when they were stored are called among the columns."""

_RESERVED = f"{RESERVED}/"
_PAGE = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Owner:
    """The column that has generated paths in a folder.

    Attributes:
        table: The table's name.
        column: The column's name.
        shards: How many folders it has; 0 for one.
        least: Seconds that an object is left alone, however short the grace period is.
    """

    table: str
    column: str
    shards: int = 0
    least: float = 0

    @property
    def folders(self) -> list[str]:
        """All its folders: one, or one for each shard."""
        return folders_of(self.table, self.column, self.shards)


_STAGED = (Owner(STAGING, "files"), Owner(STAGING, "copies"), Owner(STAGING, PROBES), Owner(STAGING, CLAIMS, least=CLAIM_LIFE))


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder of one backend.

    Attributes:
        backend: Key of the backend.
        path: The folder.
        step: What it is a part of, for people: all shards of a column are one step.
        owners: Whose generated paths lie in it: two columns, if their names differ by unusual characters only.
    """

    backend: str
    path: str
    step: str
    owners: tuple[Owner, ...]

    @property
    def least(self) -> float:
        """Seconds that an object in it is left alone, however short the grace period is."""
        return max(owner.least for owner in self.owners)

    def generated_at(self, path: str) -> float | None:
        """Return when a path here was generated (Unix time); ``None`` if not by us."""
        for owner in self.owners:
            moment = generated_at(path, owner.table, owner.column, owner.shards)
            if moment is not None:
                return moment
        return None


@dataclass(frozen=True, slots=True)
class Mirror:
    """Variants of one backend: all, or those of the objects in one folder.

    Attributes:
        backend: Key of the backend.
        path: The folder of the variants.
        step: What to call it, for people.
        without: Folders in it that others go through.
    """

    backend: str
    path: str
    step: str
    without: tuple[str, ...] = ()

    def generated_at(self, path: str) -> float | None:
        """Return 0 for a variant, whose name has no time; ``None`` if not of ours."""
        return None if parted_variant(path) is None else 0.0

    def other(self, path: str) -> str | None:
        """Return the folder of somebody else that a variant lies in, if any."""
        return next((one for one in self.without if path.startswith(f"{one}/")), None)


def mirrors(
    columns: Iterable[FileColumn],
    names: Sequence[str],
    backends: Sequence[str],
    former: Sequence[str] = (),
    *,
    apart: bool = False,
) -> list[Mirror]:
    """Return where variants lie, in an order that is the same in every process.

    Columns without a lifecycle are among them: the application deletes their objects, and knows nothing of variants.

    Args:
        columns: See :func:`folders`, as the next three.
        names: Of these only. Otherwise it is everything, also variants of objects that have no generated path.
        backends: Keys of backends.
        former: Former names.
        apart: Each folder by itself, for many workers.
    """
    found, kept = _collected(columns, names, backends, former)
    places = sorted({*found, *(place for place, owners in kept.items() if not names or not owners.isdisjoint(names))})
    alone = [
        Mirror(backend, f"{VARIANTS}/{path}", f"{backend}: variants of {'/'.join(path.split('/')[:2])}")
        for backend, path in places
        if apart or names
    ]
    if names:
        return alone
    keys = sorted({backend for backend, _ in places})
    others = {key: tuple(one.path for one in alone if one.backend == key) for key in keys}
    return [*alone, *(Mirror(key, VARIANTS, f"{key}: variants", others[key]) for key in keys)]


def folders(
    columns: Iterable[FileColumn], names: Sequence[str], backends: Sequence[str], former: Sequence[str] = ()
) -> list[Folder]:
    """Return the folders to sweep, in an order that is the same in every process.

    Args:
        columns: All file columns there are. Those without a lifecycle keep objects without rows on purpose, so their folders are
            left out, even where another column shares one.
        names: ``table.column`` of those to sweep, and ``staged``; empty for all.
        backends: Keys of backends to look for them besides each column's own.
        former: ``table/column`` of former names, ``table/column/16`` for one with 16 shards: swept on all these backends.

    Raises:
        BackendNotFoundError: A column names no backend, and there is no default one.
        ValueError: A former name is not of this form.
    """
    found, kept = _collected(columns, names, backends, former)
    return [folder for place, folder in sorted(found.items()) if place not in kept]


def _collected(
    columns: Iterable[FileColumn], names: Sequence[str], backends: Sequence[str], former: Sequence[str]
) -> tuple[dict[tuple[str, str], Folder], dict[tuple[str, str], set[str]]]:
    """Return folders by place, and those of columns without a lifecycle."""
    gone = [_former(name) for name in former]
    found: dict[tuple[str, str], Folder] = {}
    kept: dict[tuple[str, str], set[str]] = {}
    used = set(backends)
    for column in columns:
        owner = Owner(column.table.name, column.column.name, column.type.shards)
        own = column.type.backend or storages.get_default_backend().key
        used.add(own)
        for backend in {own, *backends}:
            if not column.type.lifecycle:
                for path in owner.folders:
                    kept.setdefault((backend, path), set()).add(column.name)
            elif not names or column.name in names:
                _add(found, backend, owner)
    for backend in used:
        for owner in gone:
            _add(found, backend, owner)
    for backend in used if not names or STAGED in names else ():
        for owner in _STAGED:
            _add(found, backend, owner)
    return found, kept


def _former(name: str) -> Owner:
    table, _, rest = name.partition("/")
    column, _, shards = rest.partition("/")
    if not table or not column or (shards and not shards.isdecimal()):
        raise ValueError(
            f"a former name (--former) is written 'table/column', or 'table/column/16' for one with 16 shards, not {name!r}"
        )
    return Owner(table, column, int(shards or 0))


def _add(found: dict[tuple[str, str], Folder], backend: str, owner: Owner) -> None:
    for path in owner.folders:
        others = found[backend, path].owners if (backend, path) in found else ()
        step = f"{backend}: {'/'.join(path.split('/')[:2])}"
        found[backend, path] = Folder(backend, path, step, tuple(dict.fromkeys((*others, owner))))


def share(all_folders: Sequence[T], shards: tuple[int, int] | str | None) -> list[T]:
    """Return one worker's share of the folders: ``"3/8"`` is the third of eight.

    Raises:
        ValueError: It is not of this form, or there is no such share.
    """
    if shards is None:
        return list(all_folders)
    try:
        number, count = (int(part) for part in (shards.split("/") if isinstance(shards, str) else shards))
    except (TypeError, ValueError):
        number, count = 0, 0
    if not 1 <= number <= count:
        raise ValueError(f"a share of the work (--shard) is written '3/8', the third of eight, not {shards!r}")
    return list(all_folders[number - 1 :: count])


# -- listing, in pages -----------------------------------------------------------------------------------------------------


def pages(
    blocking: Callable[..., Iterator[T]], native: Callable[..., AsyncIterator[T]], *args: Any, size: int
) -> Generator[list[T]]:
    """Yield the items of a listing in pages, in the form that fits the caller."""
    source: Any = native(*args) if in_greenlet() else blocking(*args)
    try:
        while True:
            page: list[T] = call(_take, _take_async, source, size)
            if page:
                yield page
            if len(page) < size:
                return
    finally:
        call(_close, _close_async, source)


def holds_files(backend: StorageBackend) -> bool:
    """Return True if a backend holds anything besides what was made of files."""
    one = first(backend.list, backend.list_async)
    if one is None or not one.path.startswith(_RESERVED):
        return one is not None
    if first(backend.list, backend.list_async, "", f"{RESERVED}0") is not None:  # what sorts behind the folder
        return True
    if backend.capabilities.ordered_list:
        return False
    with closing(pages(backend.list, backend.list_async, size=_PAGE)) as listing:
        return any(not info.path.startswith(_RESERVED) for page in listing for info in page)


def in_pages(items: Iterable[T], size: int) -> Generator[list[T]]:
    """Yield what is at hand, ``size`` items at a time."""
    source = iter(items)
    while page := list(islice(source, size)):
        yield page


def _take(source: Iterator[T], size: int) -> list[T]:
    return list(islice(source, size))


async def _take_async(source: AsyncIterator[T], size: int) -> list[T]:
    found: list[T] = []
    async for item in source:
        found.append(item)
        if len(found) == size:
            break
    return found


def _close(source: Any) -> None:
    if hasattr(source, "close"):
        source.close()


async def _close_async(source: Any) -> None:
    if hasattr(source, "aclose"):
        await source.aclose()
