"""The judge of the chaos run sees every fault that is planted for it, and a short run has none."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.servers._process import ROOT
from tests.servers._s3 import S3Server
from tests.servers.postgres import PostgresServer
from tools.chaos.contents import content_of, token
from tools.chaos.judge import COLUMNS, Verdict, judge_history, writes_in


def line(at: int, what: str, operation: str, **values: str | None) -> dict[str, Any]:
    named = {"values": {f"paper:{row[1:]}": value for row, value in values.items()}} if values else {}
    return {"at": at, "what": what, "operation": operation, **named}


HISTORIES: dict[str, tuple[list[dict[str, Any]], str | None, str]] = {
    "nothing was written": ([], None, ""),
    "acknowledged": ([line(1, "begin", "a", r1="A"), line(2, "ack", "a")], "A", ""),
    "acknowledged, and gone": ([line(1, "begin", "a", r1="A"), line(2, "ack", "a")], None, "lost"),
    "replaced": (
        [line(1, "begin", "a", r1="A"), line(2, "ack", "a"), line(3, "begin", "b", r1="B"), line(4, "ack", "b")], "B", ""
    ),
    "back again": (
        [line(1, "begin", "a", r1="A"), line(2, "ack", "a"), line(3, "begin", "b", r1="B"), line(4, "ack", "b")], "A", "lost"
    ),
    "at the same time": (
        [line(1, "begin", "a", r1="A"), line(2, "begin", "b", r1="B"), line(3, "ack", "b"), line(4, "ack", "a")], "B", ""
    ),
    "in doubt": ([line(1, "begin", "a", r1="A"), line(2, "ack", "a"), line(3, "begin", "b", r1="B")], "B", ""),
    "in doubt, and not done": ([line(1, "begin", "a", r1="A"), line(2, "ack", "a"), line(3, "begin", "b", r1="B")], "A", ""),
    "rolled back": ([line(1, "begin", "a", r1="A"), line(2, "void", "a")], None, ""),
    "rolled back, and there": ([line(1, "begin", "a", r1="A"), line(2, "void", "a")], "A", "ghost"),
    "written by nobody": ([line(1, "begin", "a", r1="A"), line(2, "ack", "a")], "X", "ghost"),
    "another row": ([line(1, "begin", "a", r2="A"), line(2, "ack", "a")], "A", "lost ghost"),
}  # fmt: skip


@pytest.mark.parametrize("name", HISTORIES)
def test_history_is_judged_by_what_was_acknowledged(name: str) -> None:
    lines, value, expected = HISTORIES[name]
    verdict = Verdict()
    judge_history(verdict, {"paper:1": value}, writes_in(lines))
    assert verdict.counts == Counter(expected.split())


SCHEMA = """
CREATE TABLE paper (id integer PRIMARY KEY, file jsonb, pages jsonb);
CREATE TABLE bare (id integer PRIMARY KEY, file jsonb, pages jsonb);
CREATE TABLE filerow_outbox (id integer);
"""


def document(name: str, path: str) -> dict[str, Any]:
    content = content_of(name)
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return {"v": 1, "backend": "paper", "path": path, "filename": name, "size": len(content), "checksum": checksum}


def test_judge_finds_what_is_planted(postgres_server: PostgresServer, s3_server: S3Server, tmp_path: Path) -> None:
    import psycopg

    database = postgres_server.make_database()
    prefix = s3_server.make_prefix().rstrip("/")
    bucket = s3_server.shared_bucket

    def put(path: str, content: bytes) -> None:
        s3_server.client.put_object(Bucket=bucket, Key=f"{prefix}/paper/{path}", Body=content)

    names = [token("w", number, 100) for number in range(5)]
    files = [document(name, f"paper/file/{number}") for number, name in enumerate(names)]
    put("paper/file/0", content_of(names[0]))
    put("paper/file/1", content_of(names[0]))  # the bytes of another one
    put("paper/file/2", content_of(names[2]))  # named by two rows
    put("paper/file/4", content_of(names[4]))
    files[4]["checksum"] = files[0]["checksum"]
    put("paper/file/nobody", b"x")
    s3_server.client.create_multipart_upload(Bucket=bucket, Key=f"{prefix}/paper/paper/file/begun")
    rows = [(0, files[0]), (1, files[1]), (2, files[2]), (3, files[2]), (4, files[3]), (5, files[4])]
    where = {"host": database.host, "port": database.port, "user": database.user}
    with psycopg.connect(**where, dbname=database.name) as connection:
        connection.execute(SCHEMA.encode())
        for key, file in rows:
            connection.execute("INSERT INTO paper VALUES (%s, %s, '[]')", (key, json.dumps(file)))
        connection.execute("INSERT INTO filerow_outbox VALUES (1)")
    journal = tmp_path / "w.journal"
    lines = [line(number, "begin", str(key), **{f"r{key}": file["filename"]}) for number, (key, file) in enumerate(rows)]
    lines += [{"at": 90, "what": "unexpected", "operation": "x", "error": "a traceback"}, line(91, "begin", "z", r0="later")]
    lines += [line(92, "ack", "z"), line(93, "ack", "0")]
    lines[-1]["at"] = 90  # row 0 was acknowledged before, so what came later is lost
    journal.write_text("\n".join([*map(json.dumps, lines), '{"at": 1, "wha']))
    store = {"endpoint": s3_server.endpoint, "access_key": s3_server.access_key, "secret_key": s3_server.secret_key}
    case = {
        "database": {"kind": "postgresql", **where, "name": database.name},
        "store": {**store, "place": f"{bucket}/{prefix}"},
        "journals": [str(journal)],
        "is_recovered": True,
    }
    done = subprocess.run(
        [sys.executable, "-m", "tools.chaos.judge"], input=json.dumps(case), capture_output=True, text=True, check=True, cwd=ROOT
    )
    found = json.loads(done.stdout)["counts"]
    assert found == {
        "dangling": 1, "wrong": 2, "shared": 1, "lost": 1, "orphan": 1, "unfinished": 1, "tombstone": 1, "unexpected": 1,
    }  # fmt: skip
    assert set(found) <= set(COLUMNS)
    postgres_server.drop_database(database)


@pytest.mark.thorough
@pytest.mark.servers
def test_short_run_has_nothing_in_any_column() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.chaos", "--seconds", "10"],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    head, *rounds, total = done.stdout.splitlines()[1:]
    assert len(rounds) == 2
    assert head.split()[-len(COLUMNS) :] == list(COLUMNS)
    assert total.split()[-len(COLUMNS) :] == ["0"] * len(COLUMNS)
    assert int(total.split()[1].replace(",", "")) > 10, "somebody has worked"


_CONDUCTOR = """
import sys, time
from pathlib import Path
from tools.chaos.conductor import Conductor
process = Conductor(None, None, {}, Path(sys.argv[1]), 1)._spawn(["sleep", "60"])
print(process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux ends them")
@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
def test_processes_end_with_a_conductor_that_is_killed(tmp_path: Path, paused: bool) -> None:
    conductor = subprocess.Popen([sys.executable, "-c", _CONDUCTOR, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert conductor.stdout is not None
    process = int(conductor.stdout.readline())
    state = Path(f"/proc/{process}/cmdline")
    eventually(lambda: state.read_bytes().startswith(b"sleep"))
    if paused:
        os.kill(process, signal.SIGSTOP)
    conductor.kill()
    conductor.communicate()
    eventually(lambda: not state.exists() or not state.read_bytes())  # what nobody has waited for has no arguments any more


def eventually(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)
