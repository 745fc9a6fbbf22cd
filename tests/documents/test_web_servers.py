"""The settings of nginx and Apache in docs/serving.md, in the servers themselves."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from filerow import FileObject, storages
from filerow.backends.local import LocalBackend
from filerow.http import Reply, accelerate
from tests.documents import blocks
from tests.servers import ServerMissingError
from tests.servers._process import HOST, ServerProcess, accepts_connections, free_ports, start_with_retries

DATA = bytes(range(256)) * 40
MODULES = Path("/usr/lib/apache2/modules")
NGINX = """
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr warn;
events {{ }}
http {{
    access_log off;
    types {{ }}
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {host}:{port};
        location / {{ proxy_pass http://{host}:{application}; }}
        {block}
    }}
}}
"""
APACHE = """
ServerName localhost
ServerRoot {folder}
PidFile {folder}/pid
Listen {host}:{port}
User nobody
Group nogroup
ErrorLog /dev/stderr
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
LoadModule xsendfile_module {modules}/mod_xsendfile.so
ProxyPass / http://{host}:{application}/
{block}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="filerow-web-server-") as made:
        Path(made).chmod(0o755)  # Apache's processes are somebody else, who may not look into a folder of pytest
        storages.register_backend(LocalBackend("docs", Path(made) / "files", fsync=False))
        yield Path(made)
        storages.clear_backends()


class Application:
    """An application that leaves the sending to the server in front."""

    def __init__(self, reply: Reply) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(reply.status)
                for name, value in reply.headers:
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True, kwargs={"poll_interval": 0.02}).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def program(name: str, install: str) -> str:
    """Return the path of a server's program; skip, or fail where servers are required, if it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        missing = ServerMissingError(name, install)
        if os.environ.get("FILEROW_REQUIRE_SERVERS") == "1" and name != "apache2":
            pytest.fail(f"{missing} (FILEROW_REQUIRE_SERVERS=1)", pytrace=False)
        pytest.skip(f"not covered: {missing}")
    return found


def start(process: ServerProcess, settings: str, arguments: list[str], **values: object) -> str:
    """Let a server judge its settings, start it, and return its address."""
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        file = process.folder / "settings"
        file.write_text(settings.format(folder=process.folder, host=HOST, port=port, **values))
        process.run([*arguments, "-t"])
        process.spawn(arguments)
        return process.wait_until(lambda: accepts_connections(port))

    start_with_retries(process, attempt)
    return f"http://{HOST}:{port}"


def judge(origin: str, reply: Reply) -> None:
    """Ask for a file, for a part of it, and look at the headers that keep browsers from harm."""
    with httpx.Client(base_url=origin, trust_env=False, timeout=30) as client:
        answer = client.get("/document/1")
        assert (answer.status_code, answer.content) == (200, DATA), answer.text
        for name in ("content-type", "x-content-type-options", "content-security-policy", "cross-origin-resource-policy"):
            assert answer.headers.get_list(name) == [reply.header(name)], name
        part = client.get("/document/1", headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, DATA[10:20])
        assert not {"x-accel-redirect", "x-sendfile"} & set(answer.headers)


@pytest.mark.servers
def test_nginx_sends_a_file_of_the_backend(folder: Path) -> None:
    nginx = program("nginx", "apt-get install nginx-light")
    block = blocks.find(__file__, "docs/serving.md nginx").text
    file = FileObject("docs", "a.png", to_filename="a b/50%/ü.png", content=DATA).save()
    reply = accelerate(file, prefix="/protected/")
    application, process = Application(reply), ServerProcess("nginx-of-page")
    try:
        command = [nginx, "-c", str(process.folder / "settings"), "-p", str(process.folder), "-e", "stderr"]
        shown = block.replace("/srv/files", str(folder / "files"))
        origin = start(process, NGINX, command, application=application.port, block=shown)
        judge(origin, reply)
        assert httpx.get(f"{origin}{reply.header('x-accel-redirect')}", trust_env=False).status_code == 404
    finally:
        process.stop()
        application.stop()


@pytest.mark.servers
def test_apache_sends_a_file_of_the_backend(folder: Path) -> None:
    apache = program("apache2", "apt-get install apache2 libapache2-mod-xsendfile")
    if not (MODULES / "mod_xsendfile.so").exists():
        pytest.skip(
            "not covered: Apache's mod_xsendfile is not installed; to install it: apt-get install libapache2-mod-xsendfile"
        )
    block = blocks.find(__file__, "docs/serving.md apache").text
    file = FileObject("docs", "a.png", content=DATA).save()  # mod_xsendfile 0.12 decodes no other path
    reply = accelerate(file, header="X-Sendfile")
    application, process = Application(reply), ServerProcess("apache-of-page")
    try:
        command = [apache, "-f", str(process.folder / "settings"), "-D", "FOREGROUND"]
        shown = block.replace("/srv/files", str(folder / "files"))
        origin = start(process, APACHE, command, application=application.port, block=shown, modules=MODULES)
        judge(origin, reply)
    finally:
        process.stop()
        application.stop()


def test_each_block_is_for_one_of_them() -> None:
    assert {block.language for block in blocks.of(__file__)} == {"nginx", "apache"}
