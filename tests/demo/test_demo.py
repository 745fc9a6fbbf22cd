"""The demo runs, and would not run through if bytes and rows disagreed."""

from __future__ import annotations

import io
import os
import re
import signal
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import pytest

import demo.__main__ as program
from demo import audit, files, servers
from demo.app import Library
from demo.models import Author, Base, Document
from demo.plan import STEPS, Step
from demo.run import run
from demo.steps import ROOT, insert
from demo.table import Table
from filerow import StoredObject
from tests.servers import ServerMissingError, external_s3, postgres, seaweedfs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSERT = STEPS[0]


def _run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error::ResourceWarning", "-m", "demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def _lines_of_steps(output: str) -> list[str]:
    return [line for line in output.splitlines() if any(line.startswith(f"{step.name}  ") for step in STEPS)]


@pytest.fixture
def place() -> Iterator[servers.Place]:
    with servers.local() as place:
        yield place


def _root(place: servers.Place) -> Path:
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    return Path(unquote(urlsplit(place.settings.store).path))


# -- the whole demo ----------------------------------------------------------------------------------------------------


def test_it_runs_through_on_sqlite_and_a_directory() -> None:
    done = _run_demo()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = _lines_of_steps(done.stdout)
    assert len(lines) == len(STEPS)
    verdicts = {re.split(r"\s{2,}", line[44:].strip())[2] for line in lines if not line.startswith("sign ")}
    assert verdicts == {"ok"}
    assert re.search(r"^sign a URL.*\bfetched as an attachment\b", done.stdout, re.MULTILINE)
    assert f"{len(STEPS)} steps, all ok" in done.stdout.splitlines()[-1]
    assert "\033[" not in done.stdout
    assert done.stderr == ""


@pytest.mark.thorough
@pytest.mark.servers
def test_it_runs_through_on_postgresql_and_s3() -> None:
    try:
        postgres.start().stop()
        if not external_s3.is_configured():
            seaweedfs.start().stop()
    except ServerMissingError as missing:
        if os.environ.get("FILEROW_REQUIRE_SERVERS") == "1":
            raise
        pytest.skip(f"not covered: {missing}")
    done = _run_demo("--backend", "s3")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = _lines_of_steps(done.stdout)
    assert len(lines) == len(STEPS)
    assert {re.split(r"\s{2,}", line[44:].strip())[2] for line in lines} == {"ok"}


def test_ctrl_c_ends_it_and_leaves_nothing() -> None:
    # As `python -m demo`, but for a shell that starts what runs in the background deaf to Ctrl-C.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{listen}; from demo.__main__ import main; sys.exit(main([]))"]
    # Without coverage, whose tracer may swallow the interrupt: it looks into a dictionary with a method in Python.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip
    assert process.stdout is not None
    title = process.stdout.readline()
    folder = title.rpartition(" in ")[2].strip()
    assert os.path.isdir(folder)
    while " ok " not in process.stdout.readline():  # the first step is done, the others are to come
        pass
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert not os.path.exists(folder)


# -- the audit can fail ------------------------------------------------------------------------------------------------


def _remove(file: Path) -> None:
    file.unlink()


def _change_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def _add_another(file: Path) -> None:
    (file.parent / "extra.bin").write_bytes(b"nobody's")


DAMAGES = [(_remove, "dangling"), (_change_a_byte, "differs"), (_shorten, "differs"), (_add_another, "orphan")]


def _objects(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(("damage", "finding"), DAMAGES)
def test_the_audit_names_the_path_that_disagrees(place: servers.Place, damage: Callable[[Path], None], finding: str) -> None:
    with Library(place.settings) as library:
        library.create_tables()
        insert(library)
    place.audit()
    victim = _objects(_root(place))[0]
    damage(victim)
    path = (victim.parent / "extra.bin" if finding == "orphan" else victim).relative_to(_root(place)).as_posix()
    with pytest.raises(audit.Disagreement) as found:
        place.audit()
    assert [line.split()[0] for line in found.value.findings] == [finding]
    assert path in found.value.findings[0]


def test_the_audit_sees_two_rows_with_one_object() -> None:
    document = '{"backend":"library","path":"a/b","size":1,"checksum":"sha256:ff"}'
    rows = [audit.Row("document", number, (("cover", document),)) for number in (1, 2)]
    assert audit.compare(rows, {"a/b": audit.Bytes(1, "ff")}) == [
        "shared    a/b: owned by document 1 cover and by document 2 cover"
    ]


def test_the_audit_sees_a_document_of_another_backend() -> None:
    row = audit.Row("document", 1, (("cover", '{"backend":"else","path":"a/b","size":1,"checksum":"sha256:ff"}'),))
    assert "elsewhere a/b" in audit.compare([row], {"a/b": audit.Bytes(1, "ff")})[0]


def test_the_audit_knows_every_file_column() -> None:
    mapped = {
        table.name: tuple(column.name for column in table.columns if isinstance(column.type, StoredObject))
        for table in Base.metadata.tables.values()
    }
    assert mapped == audit.FILE_COLUMNS == {Author.__tablename__: ("portrait",), Document.__tablename__: ("cover", "pages")}


# -- a disagreement ends the demo --------------------------------------------------------------------------------------


def _sabotage(place_root: Callable[[Library], Path], damage: Callable[[Path], None]) -> Step:
    def step(library: Library) -> None:
        damage(_objects(place_root(library))[0])

    return Step("sabotage", step, unchanged=True)


def _root_of(library: Library) -> Path:
    root: Path = library.backend.root  # type: ignore[attr-defined]
    return root


@pytest.mark.parametrize(("damage", "finding"), DAMAGES)
def test_the_first_disagreement_ends_the_run(
    place: servers.Place, damage: Callable[[Path], None], finding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    never = Step("never", lambda library: pytest.fail("the run went on"))
    out = io.StringIO()
    assert run(place, [INSERT, _sabotage(_root_of, damage), never], Table(out)) == 1
    assert "FAILED" in out.getvalue()
    assert finding in capsys.readouterr().err


def test_main_returns_one_then(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(program, "STEPS", [INSERT, _sabotage(_root_of, _remove)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert program.main(["--backend", "local"]) == 1
    finally:
        signal.signal(signal.SIGTERM, before)
    assert "dangling" in capsys.readouterr().err


def test_the_process_exits_with_one_then() -> None:
    code = """
import runpy
from demo import plan
def lose(library):
    file = next(path for path in library.backend.root.rglob("*") if path.is_file())
    file.unlink()
plan.STEPS.insert(1, plan.Step("lose a file", lose))
runpy.run_module("demo", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "After the step 'lose a file'" in done.stderr
    assert re.search(r"dangling  \w+/\w+/[0-9a-f]{32}\.\w+: ", done.stderr)
    assert len(done.stdout.splitlines()) == 6  # the title, the meaning, an empty line, the heads, the insert, the failure


def _nothing(library: Library) -> None:
    pass


@pytest.mark.parametrize("expected", [{"rows": 1}, {"objects": 1}, {"empty": True}])
def test_a_step_that_does_less_than_planned_ends_the_run(place: servers.Place, expected: dict[str, int]) -> None:
    out = io.StringIO()
    assert run(place, [INSERT, Step("idle", _nothing, **expected)], Table(out)) == 1  # type: ignore[arg-type]


def test_a_step_that_must_change_nothing_may_not_swap_files(place: servers.Place, capsys: pytest.CaptureFixture[str]) -> None:
    replace = next(step for step in STEPS if step.name.startswith("replace"))
    assert run(place, [INSERT, Step("replace", replace.run, unchanged=True)], Table(io.StringIO())) == 1
    assert "must change nothing" in capsys.readouterr().err


# -- the files it draws ------------------------------------------------------------------------------------------------


def _read_png(png: bytes) -> tuple[int, int, bytes]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    kinds, data, at, width, height = [], b"", 8, 0, 0
    while at < len(png):
        length, kind = struct.unpack_from(">I4s", png, at)
        body = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(kind + body)
        kinds.append(kind)
        if kind == b"IHDR":
            width, height, *rest = struct.unpack(">IIBBBBB", body)
            assert rest == [8, 2, 0, 0, 0]
        data += body if kind == b"IDAT" else b""
        at += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")
    return width, height, zlib.decompress(data)


def test_the_png_can_be_decoded() -> None:
    width, height, pixels = _read_png(files.draw_png("moon", 64, 48))
    assert (width, height) == (64, 48)
    assert len(pixels) == 48 * (1 + 64 * 3)
    assert {pixels[line * (1 + 64 * 3)] for line in range(48)} == {0}
    assert files.draw_png("moon") != files.draw_png("sun")


def test_the_pdf_says_where_its_objects_are() -> None:
    pdf = files.draw_pdf("A (short) title", "back\\slash")
    start = re.search(rb"startxref\n(\d+)\n%%EOF\n\Z", pdf)
    assert start is not None
    table = pdf[int(start[1]) :]
    assert table.startswith(b"xref\n0 6\n")
    offsets = [int(entry) for entry in re.findall(rb"(\d{10}) 00000 n \n", table)]
    assert [pdf[at:].split(b"\n", 1)[0] for at in offsets] == [b"%d 0 obj" % number for number in range(1, 6)]
    stream = re.search(rb"/Length (\d+) >>\nstream\n(.*)\nendstream", pdf, re.DOTALL)
    assert stream is not None
    assert int(stream[1]) == len(stream[2])
    assert rb"(A \(short\) title)" in stream[2]
    assert rb"(back\\slash)" in stream[2]


def test_the_big_stream_is_the_same_every_time() -> None:
    assert files.sha256_of(files.big_stream(3_000_000)) == files.sha256_of(files.big_stream(3_000_000))
    blocks = list(files.big_stream(3_000_000))
    assert sum(map(len, blocks)) == 3_000_000
    assert len(set(blocks)) == len(blocks)
