"""The judge: a client of the database and of the store that has nothing to do with Filerow, nor with SQLAlchemy.

``python -m tools.chaos.judge`` reads where everything is from stdin, as JSON, and writes what it has found to stdout. It reads
the documents as the plain JSON that they are, gets every object that one of them names, and compares it with the
bytes that belong to its filename; and it compares the rows with what the workers observed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tools.chaos.contents import content_of

__all__ = ("COLUMNS", "Write", "judge_history", "judge_objects", "writes_in")

COLUMNS = ("dangling", "wrong", "shared", "lost", "ghost", "orphan", "unfinished", "tombstone", "unexpected", "hung")
"""What is counted; each of them has to be zero.

``dangling``: a row names an object that is not there. ``wrong``: an object, or what a reader got, is not what its row says.
``shared``: two rows name one object. ``lost``: what was acknowledged is not in its row, nor anything later. ``ghost``: a row has
what was rolled back, or what nobody has written. ``orphan``, ``unfinished``, ``tombstone``: an object without a row, an upload
that never ended, a note of the outbox, after drain and sweep. ``unexpected``: an error that no broken database or store explains.
``hung``: a process that did not end.
"""

TABLES = ("paper", "bare")

_NEVER = 1 << 62
_SHOWN = 5


class Document(NamedTuple):
    """What one row says of one object."""

    where: str
    name: str
    path: str
    size: int
    checksum: str


@dataclass
class Write:
    """What one transaction meant to write into one row.

    Attributes:
        value: The filename, ``None`` for no file.
        began: When its first statement was about to be sent.
        ended: When its COMMIT was acknowledged, if it was.
        is_void: It was rolled back before there was a COMMIT.
    """

    value: str | None
    began: int
    ended: int = _NEVER
    is_void: bool = False


@dataclass
class Verdict:
    """What was found: how much of each kind, and a few examples."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, kind: str, what: str) -> None:
        """Count one."""
        self.counts[kind] += 1
        if self.counts[kind] <= _SHOWN:
            self.examples.append(f"{kind}: {what}")


def writes_in(lines: Iterable[Mapping[str, Any]]) -> dict[str, list[Write]]:
    """Return what was meant to be written into each row, from the lines of all journals."""
    writes: defaultdict[str, list[Write]] = defaultdict(list)
    by_operation: defaultdict[str, list[Write]] = defaultdict(list)
    for line in sorted(lines, key=lambda line: int(line["at"])):
        operation = line["operation"]
        if line["what"] == "begin":
            for row, value in line["values"].items():
                write = Write(value, line["at"])
                writes[row].append(write)
                by_operation[operation].append(write)
        elif line["what"] == "ack":
            for write in by_operation[operation]:
                write.ended = line["at"]
        elif line["what"] == "void":
            for write in by_operation[operation]:
                write.is_void = True
    return writes


def judge_history(verdict: Verdict, rows: Mapping[str, str | None], writes: Mapping[str, list[Write]]) -> None:
    """Compare what each row has with what was written into it: what was acknowledged last, or something later.

    A write without an answer may have happened at any time, or not at all; one that was rolled back has not happened.
    """
    for row in sorted(rows.keys() | writes.keys()):
        value = rows.get(row)
        all_of_them = [Write(None, -1, -1), *writes.get(row, ())]
        same = [write for write in all_of_them if write.value == value and not write.is_void]
        last = max((write.began for write in all_of_them if write.ended != _NEVER), default=-1)
        if not same:
            verdict.add("ghost", f"{row} has {value}, which nobody has committed")
        elif all(write.ended < last for write in same):
            verdict.add("lost", f"{row} has {value}, but something else was acknowledged later")


def judge_objects(verdict: Verdict, documents: Iterable[Document], objects: Mapping[str, bytes | None]) -> None:
    """Compare documents with objects, by path; ``None`` stands for one that is not there."""
    owners: dict[str, str] = {}
    for one in documents:
        content = objects.get(one.path)
        if one.path in owners:
            verdict.add("shared", f"{one.where} and {owners[one.path]} name {one.path}")
        owners[one.path] = one.where
        if content is None:
            verdict.add("dangling", f"{one.where} names {one.path}")
        elif content != content_of(one.name) or len(content) != one.size:
            verdict.add("wrong", f"{one.where}: {one.path} has {len(content)} bytes that are not those of {one.name}")
        elif one.checksum != f"sha256:{hashlib.sha256(content).hexdigest()}":
            verdict.add("wrong", f"{one.where}: the checksum of {one.path} is not {one.checksum}")


# -- reading ---------------------------------------------------------------------------------------------------------------


def _connected(database: Mapping[str, Any]) -> Any:
    where = {"host": database["host"], "port": database["port"], "user": database["user"]}
    if database["kind"] == "postgresql":
        import psycopg

        return psycopg.connect(**where, dbname=database["name"])
    import pymysql

    return pymysql.connect(**where, database=database["name"], charset="utf8mb4")


def _rows(database: Mapping[str, Any]) -> tuple[list[tuple[str, Any, Any]], int]:
    """Return name, file and pages of every row, and how many tombstones there are."""
    found = []
    connection = _connected(database)
    try:
        with connection.cursor() as cursor:
            for table in TABLES:
                cursor.execute(f"SELECT id, file, pages FROM {table}")
                found += [(f"{table}:{key}", _decoded(file), _decoded(pages)) for key, file, pages in cursor.fetchall()]
            cursor.execute("SELECT count(*) FROM filerow_outbox")
            [(tombstones,)] = cursor.fetchall()
    finally:
        connection.close()
    return found, tombstones


def _decoded(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str | bytes) else value


def _documents(rows: Iterable[tuple[str, Any, Any]]) -> Iterator[Document]:
    for name, file, pages in rows:
        for one in [*([file] if file else []), *(pages or [])]:
            yield Document(name, one["filename"], f"{one['backend']}/{one['path']}", one["size"], one["checksum"])


_RECORD = "staged/places/00000000000070008000000000000000.json"
"""What says in each backend which database deletes there."""


class _Bucket:
    def __init__(self, store: Mapping[str, Any]) -> None:
        from botocore.config import Config
        from botocore.session import Session

        self._client = Session().create_client(
            "s3",
            endpoint_url=store["endpoint"],
            aws_access_key_id=store["access_key"],
            aws_secret_access_key=store["secret_key"],
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, proxies={}, max_pool_connections=16),
        )
        self._bucket, _, self._prefix = store["place"].partition("/")

    def keys(self) -> set[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=f"{self._prefix}/")
        return {one["Key"].removeprefix(f"{self._prefix}/") for page in pages for one in page.get("Contents", ())}

    def uploads(self) -> list[str]:
        found = self._client.list_multipart_uploads(Bucket=self._bucket).get("Uploads", ())
        return [one["Key"] for one in found if one["Key"].startswith(f"{self._prefix}/")]

    def content(self, path: str) -> bytes | None:
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=f"{self._prefix}/{path}")["Body"]
        except self._client.exceptions.NoSuchKey:
            return None
        with body:
            return bytes(body.read())


def _lines(journals: Iterable[str]) -> list[dict[str, Any]]:
    lines = []
    for journal in journals:
        for line in Path(journal).read_bytes().split(b"\n"):
            try:
                lines.append(json.loads(line))
            except ValueError:  # the end of a journal whose process was killed
                continue
    return lines


def judge(case: Mapping[str, Any]) -> Verdict:
    """Look at everything there is."""
    verdict = Verdict()
    rows, tombstones = _rows(case["database"])
    documents = list(_documents(rows))
    bucket = _Bucket(case["store"])
    paths = sorted({document.path for document in documents})
    with ThreadPoolExecutor(8) as pool:
        objects = dict(zip(paths, pool.map(bucket.content, paths), strict=True))
    judge_objects(verdict, documents, objects)
    lines = _lines(case["journals"])
    judge_history(verdict, {name: file["filename"] if file else None for name, file, _ in rows}, writes_in(lines))
    for line in lines:
        if line["what"] in {"wrong", "unexpected"}:
            verdict.add(line["what"], f"{line['operation']}: {line.get('kind', '')} {line.get('error', line.get('file'))}")
    if case["is_recovered"]:
        for path in sorted(bucket.keys() - set(paths) - {f"{key}/{_RECORD}" for key in ("paper", "bare")}):
            verdict.add("orphan", path)
        for path in bucket.uploads():
            verdict.add("unfinished", path)
        for _ in range(tombstones):
            verdict.add("tombstone", "a note of the outbox")
    return verdict


def main() -> None:
    """Judge the case on stdin."""
    verdict = judge(json.load(sys.stdin))
    borrowed = sorted({name.partition(".")[0] for name in sys.modules} & {"filerow", "sqlalchemy", "obstore", "fsspec"})
    if borrowed:
        message = f"a judge that shares {', '.join(borrowed)} with the accused is none"
        raise RuntimeError(message)
    json.dump({"counts": verdict.counts, "examples": verdict.examples}, sys.stdout)


if __name__ == "__main__":
    main()
