"""Install each extra with the oldest versions that it allows, and run a program with it: ``python -m tools.extras [EXTRA ...]``.

Each gets a virtual environment of its own, with Python 3.11, into which uv resolves ``lowest-direct``: the oldest of what
Filerow itself asks for, the newest of what that needs. ``--newest`` installs the newest of all; ``--with PACKAGE==VERSION`` pins
one, to find the oldest that works.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.servers import azurite, fake_gcs, moto
from tests.servers._process import ServerMissingError
from tools.distribution import ROOT, UV, build

CORE = "core"
PYTHON = "3.11"
# What an application brings along, and lowest-direct is not to decide about.
HELPERS = {
    "asyncio": ["aiosqlite>=0.20"],
    "litestar": ["sniffio>=1.3"],  # which old ones import without asking for it
    "opentelemetry": ["opentelemetry-sdk>=1.30"],
}
SETTINGS = {
    "FILEROW_SECRET": "a-secret-of-the-trials-alone",
    "PYTHONDONTWRITEBYTECODE": "",
    "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
}
NEEDS = {"azure": "azure", "adlfs": "azure", "s3": "s3", "s3fs": "s3", "gcsfs": "gcs", "gcs": "key"}


class Trial(NamedTuple):
    """How one extra fared.

    Attributes:
        extra: Its name.
        versions: What was installed of the packages that it asks for.
        seconds: How long it took.
        error: What went wrong; empty if nothing did.
    """

    extra: str
    versions: str
    seconds: float
    error: str


class Runner:
    """Tries extras.

    Args:
        wheel: Filerow.
        folder: Where the environments go.
        environment: Variables that name the servers.
        newest: Install the newest versions.
        pins: Versions to install instead.
    """

    def __init__(self, wheel: Path, folder: Path, environment: Mapping[str, str], *, newest: bool, pins: list[str]) -> None:
        self.wheel = wheel
        self.folder = folder
        # the wheel is what counts, not a checkout that PYTHONPATH names
        self.environment = {**os.environ, **environment, "PYTHONPATH": "", **SETTINGS}
        self.resolution = "highest" if newest else "lowest-direct"
        self.pins = pins

    def try_out(self, extra: str) -> Trial:
        """Install an extra and run its program."""
        began = time.monotonic()
        python = str(self.folder / extra / "bin" / "python")
        steps = [
            [*UV, "venv", "--quiet", "--python", PYTHON, str(self.folder / extra)],
            [*UV, "pip", "install", "--quiet", "--python", python, "--resolution", self.resolution, *self._asked(extra)],
            [*UV, "pip", "install", "--quiet", "--python", python, "--no-deps", str(self.wheel)],
            [python, "-W", "ignore", "-m", f"tools.extras.programs.{extra.replace('-', '_')}"],
        ]
        error = next((text for step in steps if (text := self._run(step))), "")
        return Trial(extra, self._versions(python, extra), time.monotonic() - began, error)

    def _asked(self, extra: str) -> list[str]:
        """Return what Filerow and the extra ask for, as requirements of their own, so that they count as direct ones."""
        pinned = {pin.partition("==")[0] for pin in self.pins}
        asked = [one for one in requirements(extra) if name_of(one) not in pinned]
        return [*asked, *self.pins, *HELPERS.get(extra, ())]

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False, timeout=300)
        return "" if done.returncode == 0 else (done.stderr or done.stdout or f"{command} has ended with {done.returncode}")

    def _versions(self, python: str, extra: str) -> str:
        listed = subprocess.run(
            [*UV, "pip", "list", "--quiet", "--format", "json", "--python", python], capture_output=True, text=True, check=False
        )
        installed: dict[str, str] = {}
        with suppress(ValueError):
            installed = {one["name"]: one["version"] for one in json.loads(listed.stdout)}
        names = sorted({name_of(one) for one in requirements(extra)} - {"typing-extensions"} if extra == CORE else own(extra))
        return ", ".join(f"{name} {installed.get(name, '?')}" for name in names)


def project() -> dict[str, Any]:
    """Return what ``pyproject.toml`` says of the project."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def requirements(extra: str) -> list[str]:
    """Return what an installation with the extra asks for."""
    found = project()
    return [*found["dependencies"], *(found["optional-dependencies"][extra] if extra != CORE else ())]


def own(extra: str) -> set[str]:
    """Return the names of the packages that an extra asks for."""
    return {name_of(one) for one in project()["optional-dependencies"][extra]}


def name_of(requirement: str) -> str:
    """Return the name of the package in a requirement."""
    return requirement.partition(">=")[0].partition("[")[0].strip()


@contextmanager
def servers(wanted: set[str]) -> Generator[dict[str, str]]:
    """Start the servers that programs of these kinds need; yield the variables that name them."""
    with ExitStack() as stack:
        variables: dict[str, str] = {}
        if "s3" in wanted:
            s3 = moto.start()
            stack.callback(s3.stop)
            variables |= {
                "S3_ENDPOINT": s3.endpoint,
                "S3_KEY": s3.access_key,
                "S3_SECRET": s3.secret_key,
                "S3_BUCKET": s3.make_bucket(),
            }
        if "gcs" in wanted:
            gcs = fake_gcs.start()
            stack.callback(gcs.stop)
            variables |= {"GCS_ENDPOINT": gcs.endpoint, "GCS_BUCKET": gcs.make_bucket()}
        if "key" in wanted:
            variables["GCS_KEY"] = service_account()
        if "azure" in wanted:
            variables |= stack.enter_context(azure())
        yield variables


@contextmanager
def azure() -> Generator[dict[str, str]]:
    """Start Azurite where it is installed; without it, the programs only sign."""
    try:
        server = azurite.start()
    except ServerMissingError as error:
        print(f"!!! NOT COVERED: storing on Azure: {error}")
        yield {}
        return
    try:
        yield {
            "AZURE_ENDPOINT": server.endpoint,
            "AZURE_ACCOUNT": azurite.ACCOUNT_NAME,
            "AZURE_KEY": azurite.ACCOUNT_KEY,
            "AZURE_CONTAINER": server.make_container(),
            "AZURE_CONNECTION": server.connection_string,
        }
    finally:
        server.stop()


def service_account() -> str:
    """Return a key of a service account that nobody knows."""
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": "app@example.org", "private_key": key, "private_key_id": "1"}
    return json.dumps(account)


def main() -> None:
    """Try the extras that are named, or all."""
    extras = [CORE, *(name for name in project()["optional-dependencies"] if name != "all")]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "extras", nargs="*", metavar="EXTRA", choices=[[], *extras], help=f"of {', '.join(extras)}; all by default"
    )
    parser.add_argument("--newest", action="store_true", help="install the newest versions")
    parser.add_argument(
        "--with", dest="pins", action="append", default=[], metavar="PACKAGE==VERSION", help="install this version"
    )
    asked = parser.parse_args()
    chosen: list[str] = asked.extras or extras
    with TemporaryDirectory() as made, servers({NEEDS[name] for name in chosen if name in NEEDS}) as variables:
        runner = Runner(build(Path(made)), Path(made), variables, newest=asked.newest, pins=asked.pins)
        with ThreadPoolExecutor(2) as pool:
            trials = []
            for trial in pool.map(runner.try_out, chosen):
                trials.append(trial)
                print(
                    f"{'failed' if trial.error else 'ok':7}{trial.extra:12}{trial.seconds:5.1f} s  {trial.versions}", flush=True
                )
    for trial in trials:
        if trial.error:
            print(f"\n--- {trial.extra}\n{trial.error.strip()}", file=sys.stderr)
    sys.exit(any(trial.error for trial in trials))


if __name__ == "__main__":
    main()
