"""``python -m litestar_guide``: bring the database up to date, then serve on LITESTAR_HOST and LITESTAR_PORT."""

import os

import uvicorn
from advanced_alchemy.alembic.commands import AlembicCommands

from litestar_guide.app import create_app
from litestar_guide.database import alchemy_of


def main() -> None:
    """Do what ``litestar database upgrade`` and ``litestar run`` do."""
    app = create_app()
    AlembicCommands(alchemy_of(app)).upgrade()
    uvicorn.run(app, host=os.environ.get("LITESTAR_HOST", "127.0.0.1"), port=int(os.environ.get("LITESTAR_PORT", "8000")))


if __name__ == "__main__":
    main()
