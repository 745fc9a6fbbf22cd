"""What paramiko takes."""

from __future__ import annotations

import socket
from collections.abc import Collection, Mapping
from importlib import import_module
from inspect import signature
from typing import Any

from filerow.backends._deadlines import connect_within
from filerow.backends._types import Capabilities
from filerow.backends.fsspec.remote.one_connection import OneConnection


class SFTP(OneConnection):
    """Files over SSH, by paramiko."""

    capabilities: Capabilities = Capabilities(ordered_list=True)
    exclusive_mode: str | None = "wxb"

    def client_options(self) -> Collection[str]:
        return ("host_key_policy", "temppath", *signature(import_module("paramiko").SSHClient.connect).parameters)

    def with_limits(self, options: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        return {"timeout": connect_within(seconds), "banner_timeout": seconds, "auth_timeout": seconds, **options}

    def set_up(self, fs: Any, seconds: float | None) -> None:
        super().set_up(fs, seconds)
        # a request is answered before the next one is sent, so waiting for more to send would cost 40 ms each
        fs.client.get_transport().sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def limit(self, fs: Any, seconds: float) -> None:
        fs.ftp.get_channel().settimeout(seconds)

    def end(self, fs: Any) -> None:
        fs.client.close()
