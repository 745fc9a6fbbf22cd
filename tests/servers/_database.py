"""What tests need to know of a database on a server, whichever server it is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Database:
    """One empty database, with what it takes to connect; there is no password.

    Args:
        dialect: SQLAlchemy's name for the server, used where a URL asks for no other.
        host: Loopback.
        port: TCP port.
        user: An administrator of the server.
        name: Of the database.
        options: The query part of every URL.
    """

    dialect: str
    host: str
    port: int
    user: str
    name: str
    options: str = ""

    def url(self, driver: str | None = None, *, dialect: str | None = None) -> str:
        """Return the SQLAlchemy URL for a driver, such as "psycopg" or "asyncmy"; without one, SQLAlchemy picks."""
        scheme = f"{dialect or self.dialect}+{driver}" if driver else dialect or self.dialect
        query = f"?{self.options}" if self.options else ""
        return f"{scheme}://{self.user}@{self.host}:{self.port}/{self.name}{query}"
