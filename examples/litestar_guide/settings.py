"""What differs from one installation to the next, taken from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DATA = HERE / "data"
FILES_URL = "/files"
"""Where the files of a local directory are served; files in a cloud store have URLs of that store."""


@dataclass(frozen=True)
class Settings:
    """Where rows and bytes go: SQLite and a directory by default."""

    database_url: str = f"sqlite+aiosqlite:///{DATA / 'guide.sqlite'}"
    storage_url: str = (DATA / "files").as_uri()
    storage_options: Mapping[str, str] = field(default_factory=dict)
    """Passed to the backend, for what its environment variables (``AWS_ENDPOINT_URL``, …) do not say."""
    public_endpoint: str | None = None
    """The scheme and host by which clients reach the store, where that is not the one by which this process does."""
    secret: str | None = None
    """Signs URLs of local files. Without one, they work until the process ends."""
    migrations: Path = HERE / "migrations"
    secure_cookies: bool = False
    """Send the session cookie over HTTPS only."""

    @classmethod
    def from_environment(cls) -> "Settings":
        """Read ``DATABASE_URL``, ``STORAGE_URL`` and the others that the README lists."""
        defaults = cls()
        environment = os.environ
        return cls(
            database_url=environment.get("DATABASE_URL", defaults.database_url),
            storage_url=environment.get("STORAGE_URL", defaults.storage_url),
            public_endpoint=environment.get("STORAGE_PUBLIC_ENDPOINT"),
            secret=environment.get("FILEROW_SECRET"),
            migrations=Path(environment.get("MIGRATIONS", defaults.migrations)),
            secure_cookies=environment.get("SECURE_COOKIES", "") == "1",
        )
