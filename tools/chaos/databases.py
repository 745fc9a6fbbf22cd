"""The two databases: started so that a killed one has lost nothing it acknowledged, and killed, paused and restarted."""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass, replace
from typing import Any

from tests.servers import mariadb, postgres
from tests.servers._database import Database
from tools.chaos.proxy import CommitProxy

__all__ = ("KINDS", "ChaosDatabase", "start")

KINDS = ("postgresql", "mariadb")


@dataclass
class ChaosDatabase:
    """A database that goes away and comes back.

    Attributes:
        kind: ``postgresql`` or ``mariadb``.
        server: The running server.
        database: The one database in it.
        proxy: In front of it, for everybody but the judge.
    """

    kind: str
    server: postgres.PostgresServer | mariadb.MariaDBServer
    database: Database
    proxy: CommitProxy

    def world(self) -> dict[str, Any]:
        """Return what an application has to know of it."""
        if self.kind == "postgresql":
            sync: dict[str, Any] = {"connect_timeout": 5}
            awaited: dict[str, Any] = {"timeout": 5, "command_timeout": 10}
            drivers = ("psycopg", "asyncpg")
        else:
            sync = {"connect_timeout": 5, "read_timeout": 10, "write_timeout": 10}
            awaited = {"connect_timeout": 5}
            drivers = ("pymysql", "asyncmy")
        behind = replace(self.database, port=self.proxy.port)
        return {
            "url": behind.url(drivers[0]),
            "async_url": behind.url(drivers[1]),
            "connect_args": sync,
            "async_connect_args": awaited,
        }

    def place(self) -> dict[str, Any]:
        """Return what the judge has to know of it."""
        database = self.database
        return {"kind": self.kind, "host": database.host, "port": database.port, "user": database.user, "name": database.name}

    def kill(self) -> None:
        """End it at once, and start it again: it recovers from its log."""
        self.server.process.end()
        self._start()

    def restart(self) -> None:
        """End it as an administrator does, and start it again."""
        self.server.process.signal(signal.SIGINT if self.kind == "postgresql" else signal.SIGTERM)
        self.server.process.wait_for_end()
        self.server.process.end()
        self._start()

    def pause(self, seconds: float) -> None:
        """Let it stand still."""
        self.server.process.signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            self.server.process.signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good."""
        self.proxy.stop()
        self.server.stop()

    def _start(self) -> None:
        answers = postgres.answers if self.kind == "postgresql" else mariadb.answers
        self.server.process.spawn_again()
        if not self.server.process.wait_until(lambda: answers(self.server.port), timeout=60):
            message = f"{self.kind} did not come back:\n{self.server.process.log}"
            raise RuntimeError(message)


def start(kind: str, seed: int) -> ChaosDatabase:
    """Start a database that writes what it acknowledges, unlike those of the tests."""
    server: postgres.PostgresServer | mariadb.MariaDBServer
    if kind == "postgresql":
        server = postgres.start(synchronous_commit="on")
    else:
        server = mariadb.start("--innodb-flush-log-at-trx-commit=2")
    database = server.make_database()
    return ChaosDatabase(kind, server, database, CommitProxy(f"{database.host}:{database.port}", seed))
