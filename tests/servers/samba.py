"""An SMB server, for fsspec's filesystem of that name: Samba, from the system's package."""

from __future__ import annotations

import getpass
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.servers._process import (
    HOST,
    RunningServer,
    ServerMissingError,
    ServerProcess,
    accepts_connections,
    free_ports,
    start_with_retries,
)

PASSWORD = "a password of the tests"
SHARE = "files"

_CONFIGURATION = """
[global]
server role = standalone server
interfaces = lo
bind interfaces only = yes
disable netbios = yes
disable spoolss = yes
load printers = no
printcap name = /dev/null
rpc start on demand helpers = no
passdb backend = tdbsam:{folder}/passdb.tdb
private dir = {folder}
state directory = {folder}
cache directory = {folder}
lock directory = {folder}
pid directory = {folder}
ncalrpc dir = {folder}/ncalrpc
smb ports = {port}

[{share}]
path = {root}
read only = no
"""


class SambaServer(RunningServer):
    """A server with one share, in a folder of its own.

    Args:
        port: Where it listens.
        process: Ends with it.
    """

    def __init__(self, port: int, process: ServerProcess) -> None:
        super().__init__(process)
        self.port = port

    @property
    def options(self) -> dict[str, Any]:
        """Options of fsspec's filesystem."""
        return {"host": HOST, "port": self.port, "username": getpass.getuser(), "password": PASSWORD}


def start() -> SambaServer:
    """Start the server.

    Raises:
        ServerMissingError: It is not installed, or its client is not.
    """
    tools = [shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin") for name in ("smbd", "pdbedit")]
    if None in tools or not importlib.util.find_spec("smbclient"):
        raise ServerMissingError("an SMB server", "apt-get install samba; pip install smbprotocol")
    smbd, pdbedit = map(str, tools)
    process = ServerProcess("samba")
    root = process.folder / "root"
    root.mkdir()
    port = 0

    def attempt() -> bool:
        nonlocal port
        port = free_ports()
        configuration = process.folder / "smb.conf"
        configuration.write_text(_CONFIGURATION.format(folder=process.folder, root=root, share=SHARE, port=port))
        _make_user(pdbedit, configuration)
        process.spawn([smbd, "--foreground", "--no-process-group", "--debug-stdout", "--configfile", str(configuration)])
        return process.wait_until(lambda: accepts_connections(port))

    start_with_retries(process, attempt)
    return SambaServer(port, process)


def _make_user(pdbedit: str, configuration: Path) -> None:
    """Let the user whom the server runs as log in; without root it can become nobody else."""
    command = [pdbedit, "-s", str(configuration), "-a", "-t", "-u", getpass.getuser()]
    subprocess.run(command, input=f"{PASSWORD}\n{PASSWORD}\n", text=True, check=True, capture_output=True, timeout=60)
