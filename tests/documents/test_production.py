"""The units and jobs of docs/production.md: judged by systemd, and their commands run as it would run them."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.documents import blocks
from tests.documents.reader import PROGRAMS, Reader
from tests.documents.schemas import CRON_JOB
from tests.servers._process import ROOT

PAGE = (ROOT / "docs" / "production.md").read_text()
MODELS = """
from datetime import timedelta
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.outbox import Outbox

FILES = Path(__file__).parents[1] / "files"
storages.register_backend(f"file://{FILES}", key="docs")


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs"))


Outbox(Base.metadata, retention=timedelta(0))
"""
FILL = """
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from shop.models import *

engine = create_engine("sqlite:///shop.db")
Base.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all([Document(file=FileObject(content=b"kept")), Document(file=FileObject(content=b"removed"))])
    session.commit()
    session.execute(text("DELETE FROM document WHERE id = 2"))
    session.commit()
"""


def units() -> dict[str, str]:
    """Return the units of the page under the names that it gives them, in its order."""
    names = re.findall(r"(?<![\w/])(?:/etc/systemd/system/)?(filerow-\w+\.(?:service|timer))`", PAGE)
    texts = [block.text for block in blocks.of(__file__) if block.language == "ini"]
    return dict(zip(names, texts, strict=True))


UNITS = units()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The application of the page, with one file in a row and one that was removed."""
    reader = Reader(tmp_path_factory.mktemp("srv") / "shop")
    reader.write("shop/__init__.py", "")
    reader.write("shop/models.py", MODELS)
    reader.shell(f"python -c {shlex.quote(FILL)}")
    return reader.folder


@pytest.fixture
def shop(made: Path, tmp_path: Path) -> Reader:
    """A copy of it where its units expect it."""
    reader = Reader(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("files"))
    shutil.copytree(made / "files", tmp_path / "files", copy_function=os.link)  # the same files: their etags are in the rows
    (tmp_path / ".venv").symlink_to(PROGRAMS.parent)
    reader.environment["FILEROW_URL"] = f"sqlite:///{tmp_path}/shop.db"  # from /etc/shop.env
    return reader


def stored(shop: Reader) -> list[bytes]:
    folder = shop.folder / "files" / "document"
    return sorted(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def service(name: str, shop: Reader) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have capitals
    parser.read_string(UNITS[name].replace("/srv/shop", str(shop.folder)))
    found = dict(parser["Service"])
    variable, _, value = found["Environment"].partition("=")
    shop.environment[variable] = value
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("not covered: systemd-analyze is not installed; to install it: apt-get install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_each_unit_has_a_name() -> None:
    assert list(UNITS) == ["filerow-drain.service", "filerow-sweep.service", "filerow-sweep.timer"]


def test_systemd_takes_the_units(shop: Reader) -> None:
    files = []
    for name, text in UNITS.items():
        path = shop.folder / name
        path.write_text(text.replace("/srv/shop", str(shop.folder)).replace("User=shop", "User=www-data"))
        files.append(str(path))
    done = analyze("verify", "--man=no", *files)
    assert (done.returncode, [line for line in done.stderr.splitlines() if "filerow-" in line]) == (0, [])
    broken = shop.folder / "filerow-broken.service"
    broken.write_text(UNITS["filerow-drain.service"].replace("/srv/shop", "/nowhere").replace("Restart=", "Restrat="))
    assert "Restrat" in analyze("verify", "--man=no", str(broken)).stderr, "it would find a wrong one"


def test_systemd_knows_the_timer_s_calendar() -> None:
    [calendar] = re.findall(r"^OnCalendar=(.*)$", UNITS["filerow-sweep.timer"], re.MULTILINE)
    done = analyze("calendar", calendar)
    assert done.returncode == 0, done.stderr
    assert "03:15:00" in done.stdout


def test_the_drain_s_command_deletes_and_ends_as_systemd_expects(shop: Reader) -> None:
    unit = service("filerow-drain.service", shop)
    process = subprocess.Popen(
        shlex.split(unit["ExecStart"]), cwd=unit["WorkingDirectory"], env=shop.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        wait(lambda: stored(shop) == [b"kept"], process)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    clean = {0, -signal.SIGTERM, *map(int, unit.get("SuccessExitStatus", "").split())}
    assert process.returncode in clean, f"after `systemctl stop` the unit would count as failed: {process.returncode}\n{output}"


def wait(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    for _ in range(600):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    pytest.fail("it took more than a minute")


def run(command: list[str], shop: Reader) -> int:
    done = subprocess.run(
        command, cwd=shop.folder, env=shop.environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode


def test_the_sweep_s_command_ends_as_its_unit_says(shop: Reader) -> None:
    unit = service("filerow-sweep.service", shop)
    clean = {0, *map(int, unit["SuccessExitStatus"].split())}
    codes = [run(shlex.split(unit["ExecStart"]), shop) for _ in range(2)]
    assert codes == [1, 0], "the first sweep of a place notes whose it is, and says so"
    assert set(codes) <= clean


def test_jobs_of_the_table_end_with_the_codes_that_it_promises(shop: Reader) -> None:
    shop.environment["FILEROW_APP"] = "shop.models:Base"
    jobs = re.findall(r"^\| `(filerow [^`]+)`", PAGE, re.MULTILINE)
    assert [job.split()[1] for job in jobs] == ["drain", "sweep", "sweep", "check", "doctor"]
    assert run(shlex.split(jobs[0]), shop) == 1, "the first drain of a place notes whose it is, and says so"
    assert stored(shop) == [b"kept", b"removed"]
    *codes, doctor = (run(shlex.split(job), shop) for job in jobs)
    assert codes == [0, 0, 0, 0]
    assert doctor in {0, 1}
    assert stored(shop) == [b"kept"]
    assert run(shlex.split("filerow check --app nowhere:Base"), shop) == 2


def test_the_cron_job_is_one_and_its_command_runs(shop: Reader) -> None:
    yaml = pytest.importorskip("yaml", reason="not covered: PyYAML is not installed; to install it: pip install pyyaml")
    [block] = [block for block in blocks.of(__file__) if block.language == "yaml"]
    job: dict[str, Any] = yaml.safe_load(block.text)
    jsonschema.validate(job, CRON_JOB)
    assert not is_schedule("15 3 * *")
    assert is_schedule(job["spec"]["schedule"])
    [other] = re.findall(r"`schedule: \"(.*?)\"`", PAGE)
    assert is_schedule(other)
    [container] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    shop.environment.update({variable["name"]: variable["value"] for variable in container["env"]})
    assert [run(container["command"], shop) for _ in range(2)] == [1, 0]
    commands = [yaml.safe_load(text) for text in re.findall(r"`(\[\"filerow\".*?\])`", PAGE)]
    assert commands == [["filerow", "drain", "--watch"], ["filerow", "drain"]]
    assert run(commands[1], shop) == 0
    assert stored(shop) == [b"kept"]


def is_schedule(text: str) -> bool:
    """Return True for five fields of cron within their ranges."""
    fields = text.split()
    limits = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
    return len(fields) == 5 and all(
        field == "*" or re.fullmatch(r"\*/\d+", field) or (field.isdigit() and low <= int(field) <= high)
        for field, (low, high) in zip(fields, limits, strict=True)
    )


def test_a_sweep_that_found_something_does_not_fail_the_pod(shop: Reader) -> None:
    shop.environment["FILEROW_APP"] = "shop.models:Base"
    [wrapped] = re.findall(r"`(sh -c '.*?')`", PAGE)
    assert run(shlex.split(wrapped), shop) == 0
    shop.environment["FILEROW_APP"] = "nowhere:Base"
    assert run(shlex.split(wrapped), shop) != 0
