"""``python -m demo [--backend local|s3]``: see the package."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from demo.plan import STEPS
from demo.run import run
from demo.servers import PLACES
from demo.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("main",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; servers and temporary folders go with it, however it ends.

    Returns:
        The exit status: 0 when all went well, 1 at the first disagreement, 130 after Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m demo", description="Run a small application and audit every step.")
    parser.add_argument(
        "--backend",
        choices=sorted(PLACES),
        default="local",
        help="local: SQLite and a directory (default); s3: PostgreSQL and SeaweedFS, both started here",
    )
    backend = parser.parse_args(arguments).backend
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with PLACES[backend]() as place:
            return run(place, STEPS, Table(sys.stdout))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def _terminate(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - the signature of a signal handler
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
