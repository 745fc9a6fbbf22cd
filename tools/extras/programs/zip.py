"""Extra ``zip``: two files become one archive of the length that it says."""

import io
import zipfile

from filerow import FileObject
from filerow.ext.zip import zip_files
from tools.extras.programs.model import CONTENT, directory


def main() -> None:
    """Make an archive and open it."""
    directory()
    archive = zip_files([FileObject("docs", "a.txt", content=CONTENT).save() for _ in range(2)])
    data = b"".join(archive)
    assert archive.size == len(data)
    assert zipfile.ZipFile(io.BytesIO(data)).read("a (2).txt") == CONTENT


if __name__ == "__main__":
    main()
