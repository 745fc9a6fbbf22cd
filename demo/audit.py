"""Reads the database and the store without Filerow or SQLAlchemy, and compares them: the demo's independent check."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections import defaultdict
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.models import BACKEND

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = (
    "FILE_COLUMNS",
    "Bytes",
    "Disagreement",
    "Row",
    "State",
    "compare",
    "read_bucket",
    "read_directory",
    "read_postgres",
    "read_sqlite",
    "take",
)

FILE_COLUMNS = {"author": ("portrait",), "document": ("cover", "pages")}
"""Every column that holds files, by table."""

_CHUNK = 1 << 20


class Disagreement(Exception):  # noqa: N818 - it is what the demo looks for
    """Bytes and rows disagree, or something is not as it has to be.

    Args:
        findings: One line for each, naming the path.
    """

    def __init__(self, *findings: str) -> None:
        self.findings = findings
        super().__init__("\n".join(findings))


@dataclass(frozen=True)
class Bytes:
    """What an object is, or ought to be."""

    size: int | None
    sha256: str | None

    def __str__(self) -> str:
        return f"{self.size} bytes, sha256 {(self.sha256 or 'none')[:12]}"


@dataclass(frozen=True)
class Row:
    """One row, with the documents of its file columns as they stand in the database."""

    table: str
    id: int
    documents: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """What to call it in messages."""
        return f"{self.table} {self.id}"


@dataclass(frozen=True)
class State:
    """All rows and all objects at one moment."""

    rows: tuple[Row, ...]
    objects: dict[str, Bytes]


# -- the database ------------------------------------------------------------------------------------------------------


def read_sqlite(path: Path) -> tuple[Row, ...]:
    """Read all rows that can have files from an SQLite file."""
    with closing(sqlite3.connect(path)) as connection:
        return _rows(lambda query: connection.execute(query).fetchall(), "TEXT")


def read_postgres(conninfo: str) -> tuple[Row, ...]:
    """Read all rows that can have files from PostgreSQL."""
    import psycopg

    with psycopg.connect(conninfo) as connection:
        return _rows(lambda query: connection.execute(query.encode()).fetchall(), "text")


def _rows(fetch: Callable[[str], Sequence[Sequence[Any]]], text: str) -> tuple[Row, ...]:
    found = []
    for table, columns in FILE_COLUMNS.items():
        wanted = ", ".join(f"CAST({column} AS {text})" for column in columns)
        for number, *values in fetch(f"SELECT id, {wanted} FROM {table} ORDER BY id"):  # noqa: S608 - our own names
            documents = zip(columns, values, strict=True)
            found.append(Row(table, number, tuple((column, value) for column, value in documents if value is not None)))
    return tuple(found)


# -- the store ---------------------------------------------------------------------------------------------------------


def read_directory(root: Path) -> dict[str, Bytes]:
    """Read and hash every file below a directory, whatever it is called."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(root).as_posix()] = Bytes(path.stat().st_size, digest)
    return found


def read_bucket(client: Any, bucket: str, prefix: str) -> dict[str, Bytes]:
    """Read and hash every object of an S3 bucket, and list uploads that nobody finished, with a botocore client."""
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", ()):
            body = client.get_object(Bucket=bucket, Key=entry["Key"])["Body"]
            found[entry["Key"].removeprefix(prefix)] = Bytes(entry["Size"], _hash(body.iter_chunks(_CHUNK)))
    for upload in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ()):
        found[f"{upload['Key'].removeprefix(prefix)} (unfinished upload {upload['UploadId']})"] = Bytes(None, None)
    return found


def _hash(chunks: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


# -- the comparison ----------------------------------------------------------------------------------------------------


def take(rows: tuple[Row, ...], objects: dict[str, Bytes]) -> State:
    """Compare what was read from the two sides.

    Raises:
        Disagreement: They differ.
    """
    findings = compare(rows, objects)
    if findings:
        raise Disagreement(*findings)
    return State(rows, objects)


def compare(rows: Iterable[Row], objects: dict[str, Bytes]) -> list[str]:
    """Return one line for every path on which the database and the store disagree; none when they agree."""
    findings = []
    owners: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        for column, text in row.documents:
            value = json.loads(text)
            for document in value if isinstance(value, list) else [value]:
                owner = f"{row.name} {column}"
                owners[document["path"]].append(owner)
                findings += _compare_one(owner, document, objects.get(document["path"]))
    for path, names in sorted(owners.items()):
        if len(names) > 1:
            findings.append(f"shared    {path}: owned by {' and by '.join(names)}")
    findings += [f"orphan    {path}: {objects[path]}, but no row has it" for path in sorted(objects.keys() - owners.keys())]
    return findings


def _compare_one(owner: str, document: dict[str, Any], stored: Bytes | None) -> list[str]:
    path, claimed = document["path"], Bytes(document["size"], (document["checksum"] or "").removeprefix("sha256:"))
    if document["backend"] != BACKEND:
        return [f"elsewhere {path}: {owner} names the backend {document['backend']!r}"]
    if stored is None:
        return [f"dangling  {path}: {owner} says {claimed}, but there is no object"]
    if stored != claimed:
        return [f"differs   {path}: {owner} says {claimed}, but the object has {stored}"]
    return []
