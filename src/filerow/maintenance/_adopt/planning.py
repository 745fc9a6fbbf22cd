"""Decides what adopt does with one row; no database here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement

from filerow._content import is_sha256
from filerow._document import Facts, to_document
from filerow._file.transfer import Copy
from filerow._orm.ownership import Ref
from filerow._orm.references import FileColumn, decoded
from filerow._paths import clean_filename, generate_path, is_reserved
from filerow._registry import storages
from filerow.backends.base import StorageBackend
from filerow.exceptions import BackendNotFoundError, DocumentError
from filerow.maintenance._adopt.locate import Locator, NoLocationError
from filerow.maintenance._examine import Examine
from filerow.maintenance._legacy import Legacy, is_legacy, members_of, read_document
from filerow.maintenance._report import Finding, Level
from filerow.maintenance._rewrite import Rewrite
from filerow.maintenance._rows import Row, row_name


class Source:
    """Another column, with strings or documents.

    Args:
        column: The column, as the database returns its values.
        strip: See :class:`Locator`.
        backend: Key of the backend of paths.
        suffix: What the other library's store appends to the names in its documents and strings.
    """

    def __init__(self, column: ColumnElement[Any], strip: Sequence[str], backend: str, suffix: str = "") -> None:
        self.column = column
        self._locate = Locator(strip, backend)
        self._suffix = suffix

    def members(self, value: Any) -> list[Any]:
        """Return the strings or documents in a value, which may be JSON in text."""
        if isinstance(value, str) and value.startswith(("{", "[")):
            value = decoded(value)
        return members_of(value)

    def read(self, member: Any) -> Legacy:
        """Return what a string or a document says of its file.

        Raises:
            NoLocationError: The string names no file.
            DocumentError: The document names none.
        """
        if not isinstance(member, str):
            return read_document(member, self._suffix)
        ref = self._locate(member)
        return Legacy(Facts(ref.backend, ref.path + self._suffix, clean_filename(ref.path)))


class Entry:
    """A file of a row to adopt.

    Attributes:
        place: Its index in the row's list.
        look: The look at its object.
        legacy: Another library's document, or a string; not ours.
        others: Further objects that belong to it; see :class:`Legacy`.
        size: The size in the document.
        copy: Its copy, if another row has its object.
    """

    def __init__(
        self, place: int, found: Legacy, backend: StorageBackend, *, read: bool, legacy: bool, named: Ref | None
    ) -> None:
        self.place = place
        self.legacy = legacy
        self.others = found.others
        self.size = found.facts.size
        self.copy: Copy | None = None
        known = found.facts._replace(backend=backend.key)
        self.look = Examine(known, backend, read=read, typed=not legacy)
        self._backend = backend
        self._path = ""
        self._named = named

    @property
    def is_missing(self) -> bool:
        """Return True if there is no object."""
        return self.look.flaw is not None and self.look.flaw[0] == "missing"

    @property
    def facts(self) -> Facts | None:
        """The row's new document; ``None`` if there is no object, or no copy yet."""
        return self.look.facts if self.copy is None else self.copy.facts

    @property
    def made(self) -> list[Ref]:
        """The object that was made for it, if any."""
        return [] if self.copy is None or self.copy.facts is None else [Ref(self._backend.key, self._path)]

    @property
    def renamed(self) -> list[Ref]:
        """The former name of an object that gets another backend's key, or a suffix."""
        kept = self.copy is None and self.look.facts is not None
        now = Ref(self._backend.key, self.look.known.path)
        return [self._named] if kept and self._named is not None and self._named != now else []

    def share(self, column: FileColumn) -> None:
        """Copy the object to a new path."""
        facts = self.look.facts
        assert facts is not None  # noqa: S101 - it was found
        self._path = generate_path(column.table.name, column.column.name, facts.filename, shards=column.type.shards)
        self.copy = Copy(facts, self._backend, self._backend, self._path, stored_with=column.type.stored_with)


@dataclass(slots=True)
class AdoptionPlan:
    """A row to adopt.

    Attributes:
        row: The row as it was read.
        where: Its name in findings.
        members: All its documents, including those that stay unchanged.
        is_list: Its column holds lists.
        nullable: Its column may be NULL.
        text: The string or document in another column that it is made from.
        entries: The files to look up.
        flaws: What prevents members from being adopted.
    """

    row: Row
    where: str
    members: list[Any]
    is_list: bool
    nullable: bool
    text: Any = None
    entries: list[Entry] = field(default_factory=list)
    flaws: list[Finding] = field(default_factory=list)

    def flaw(self, code: str, message: str, ref: Ref | None = None, level: Level = "error", **more: Any) -> Finding:
        """Return a finding about this row."""
        backend, path = ("", "") if ref is None else ref
        return Finding(code, message, level, self.where, backend, path, **more)

    def rewrite(self, removable: Iterable[str]) -> Rewrite | None:
        """Return how to write the row, ``None`` if there is nothing to write.

        Args:
            removable: Backends whose missing objects are removed from the row.
        """
        members: list[Any] = list(self.members)
        gone: set[int] = set()
        for entry in self.entries:
            facts = entry.facts or entry.look.facts  # a dry run makes no copies
            if facts is not None:
                members[entry.place] = to_document(facts)
            elif self._removes(entry, removable):
                gone.add(entry.place)
        if self.text is not None and not (self.entries and all(entry.look.facts for entry in self.entries)):
            return None  # what the other column says stays there until there is a file
        if not self.is_list and not all(isinstance(member, dict) for member in members):
            return None  # only documents are written to the column; anything else stays unchanged
        left = [member for place, member in enumerate(members) if place not in gone]
        new = left if self.is_list else left[0] if left else None
        old = None if self.text is not None else self.row.value
        is_json_null = new is None and self.row.value is None  # other libraries write this for no file
        if (new == old and not is_json_null) or (new is None and not self.nullable):
            return None
        return Rewrite(self.row.key, old, new, self.text, frozenset(ref for entry in self.entries for ref in entry.renamed))

    def _removes(self, entry: Entry, removable: Iterable[str]) -> bool:
        allowed = self.text is None and (self.is_list or self.nullable)
        return allowed and entry.is_missing and entry.look.known.backend in removable

    def findings(self, removable: Iterable[str], *, dry_run: bool) -> Iterator[Finding]:
        """Yield the findings about this row."""
        yield from self.flaws
        for entry in self.entries:
            known = entry.look.known
            ref = Ref(known.backend, known.path)
            if entry.look.flaw is not None:
                code, message = entry.look.flaw
                removes = self._removes(entry, removable)
                yield self.flaw(
                    code, message, ref, advice="" if removes else "the row is left unchanged", fixed=removes and not dry_run
                )
                continue
            if entry.copy is not None:
                message = f"another row has {ref.path!r} in {ref.backend!r}; this one gets its own copy"
                yield self.flaw("shared", message, ref, "info", fixed=not dry_run)
            if entry.size is not None and entry.look.facts is not None and entry.size != entry.look.facts.size:
                message = f"the document said {entry.size} bytes, the object has {entry.look.facts.size}"
                yield self.flaw("size", message, ref, "warning", fixed=not dry_run)
            if entry.others:
                message = f"further objects belong to this file, which no row owns from now on: {', '.join(entry.others)}"
                advice = "they are named in its metadata; delete them, or give them a column of their own"
                yield self.flaw("further-objects", message, ref, "warning", advice=advice)


class Planner:
    """Decides for each row what to do.

    Args:
        column: The file column.
        source: The other column to make files from, ``None`` to adopt the column's own documents.
        backend: The backend of the objects of other libraries' documents, instead of the one that they name.
        read: Read objects whose checksum is not known.
        suffix: What the other library's store appends to the names in its documents.
    """

    def __init__(
        self, column: FileColumn, source: Source | None, backend: StorageBackend | None, *, read: bool, suffix: str = ""
    ) -> None:
        self.column = column
        self.source = source
        self._suffix = suffix
        self._backend = backend
        self._read = read

    def planned(self, row: Row) -> AdoptionPlan | None:
        """Return what to do with a row, ``None`` if there is nothing to do."""
        text = None if self.source is None else row.value
        members = members_of(row.value) if self.source is None else self.source.members(row.value)
        if self.source is not None and not members:
            return None
        multiple, nullable = self.column.type.multiple, bool(self.column.column.nullable)
        plan = AdoptionPlan(row, row_name(self.column, row.key), members, multiple, nullable, text)
        if not multiple and len(members) > 1:
            plan.flaws.append(plan.flaw("unreadable", f"a list of {len(members)} files, but the column holds one"))
            plan.members = [row.value]
            return plan
        for place, member in enumerate(members):
            self._plan(plan, place, member)
        shape_is_right = isinstance(row.value, list) is multiple and (row.value is not None or not (multiple or nullable))
        return plan if plan.entries or plan.flaws or not shape_is_right else None

    def _plan(self, plan: AdoptionPlan, place: int, member: Any) -> None:
        try:
            found = read_document(member, self._suffix) if self.source is None else self.source.read(member)
        except (DocumentError, NoLocationError) as error:
            plan.flaws.append(plan.flaw("unreadable" if isinstance(error, DocumentError) else "url", str(error)))
            return
        facts = found.facts
        legacy = self.source is not None or is_legacy(member)
        if not legacy and facts.size is not None and (is_sha256(facts.checksum) or not self._read):
            return
        if is_reserved(facts.path):
            message = f"{facts.path!r} is reserved for what Filerow makes of files; no row can own it"
            plan.flaws.append(plan.flaw("unreadable", message))
            return
        named = Ref(facts.backend, facts.path.removesuffix(self._suffix) if legacy else facts.path)
        try:
            others = legacy and not isinstance(member, str)  # a string's backend is given by its prefix
            backend = self._backend if others and self._backend is not None else storages.get_backend(facts.backend)
        except BackendNotFoundError as error:
            plan.flaws.append(
                plan.flaw("unknown-backend", str(error), named, advice="register it, or name another one: backend= (--in)")
            )
            return
        before = None if self.source is not None else named
        plan.entries.append(Entry(place, found, backend, read=self._read, legacy=legacy, named=before))
