"""nginx as a proxy before a store: the host by which clients reach it, from the system's package.

::

    with seaweedfs.start() as s3, nginx.start(s3.endpoint) as proxy:
        proxy.endpoint  # http://localhost:…, another name than the store's
        proxy.secure_endpoint  # https://localhost:…, with a certificate that it has made itself
        proxy.requests()  # what has come by it
"""

from __future__ import annotations

import os
import shutil
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tests.servers._process import (
    HOST,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    accepts_connections,
    free_ports,
    start_with_retries,
)

NAME = "localhost"
"""Not the address by which the tests reach a store, so that a signature for the one is none for the other."""

# One process: a worker would outlive its master, which is killed at once when its test ends.
_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events {{ worker_connections 256; }}
http {{
    log_format asked '$request_method $request_uri $status';
    access_log {folder}/access.log asked;
    client_max_body_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port};
        listen {host}:{secure_port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{
            {query}
            proxy_pass {store};
            proxy_http_version 1.1;
            proxy_set_header Host {passed};
            proxy_request_buffering off;
        }}
    }}
}}
"""


class Asked(NamedTuple):
    """One request that has come by the proxy: its method, its path with its query, and the status of the answer."""

    method: str
    target: str
    status: int


class Nginx(RunningServer):
    """A running proxy.

    Args:
        process: Ends with it.
        port: Where it listens for plain HTTP.
        secure_port: Where it listens for TLS.
    """

    def __init__(self, process: ServerProcess, port: int, secure_port: int) -> None:
        super().__init__(process)
        self.endpoint = f"http://{NAME}:{port}"
        self.secure_endpoint = f"https://{NAME}:{secure_port}"

    def requests(self, word: str = "") -> list[Asked]:
        """Return the requests so far whose path has this word in it."""
        time.sleep(0.05)  # a line is written after its answer
        lines = (self.process.folder / "access.log").read_text().splitlines()
        parts = [line.split(" ") for line in lines if word in line]
        return [Asked(method, target, int(status)) for method, target, status in parts]

    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to believe in its certificate."""
        return ssl.create_default_context(cafile=str(self.process.folder / "certificate.pem"))


def start(store: str, *, keeps_host: bool = True, keeps_query: bool = True) -> Nginx:
    """Start a proxy.

    Args:
        store: The endpoint of the store.
        keeps_host: Pass on the ``Host`` that clients have asked for, without which no signature fits.
        keeps_query: Pass on the query, which a store may take for orders even from those who have signed nothing.

    Raises:
        ServerMissingError: nginx is not installed.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise ServerMissingError("nginx", "apt-get install nginx-light")
    process = ServerProcess("nginx")
    _certify(process.folder)
    passed = "$http_host" if keeps_host else "$proxy_host"
    query = "" if keeps_query else "set $args '';"
    settings = {"folder": process.folder, "host": HOST, "store": store, "passed": passed, "query": query}
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports(2)
        configuration = process.folder / "nginx.conf"
        configuration.write_text(_CONFIGURATION.format(port=port, secure_port=port + 1, **settings))
        process.spawn([program, "-c", str(configuration), "-p", str(process.folder), "-e", "stderr"])
        return process.wait_until(lambda: accepts_connections(port))

    start_with_retries(process, attempt)
    return Nginx(process, port, port + 1)


def _certify(folder: Path) -> None:
    """Make a key, and a certificate for `NAME` that it signs itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
