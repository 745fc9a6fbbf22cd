"""Extra ``fsspec``: files on fsspec's own filesystems, in memory and in a directory."""

from tempfile import mkdtemp

from filerow.backends.fsspec import FSSpecBackend
from tools.extras.programs.filesystem import live


def main() -> None:
    """Live in both."""
    live(FSSpecBackend("memory", "memory://folder"))
    live(FSSpecBackend("files", f"file://{mkdtemp()}"))


if __name__ == "__main__":
    main()
