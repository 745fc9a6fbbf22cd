"""Extra ``s3``: URLs that bind a name and a type, forms and parts of direct upload, against a server that speaks S3."""

import os
from typing import Any

from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from tools.extras.programs.model import CONTENT, Document, database
from tools.extras.programs.web import fetch


def main() -> None:
    """Store, sign and upload."""
    place: dict[str, Any] = {
        "aws_endpoint": os.environ["S3_ENDPOINT"],
        "aws_access_key_id": os.environ["S3_KEY"],
        "aws_secret_access_key": os.environ["S3_SECRET"],
        "aws_region": "us-east-1",
    }
    storages.register_backend(ObstoreBackend("docs", f"s3://{os.environ['S3_BUCKET']}/docs", **place))
    with Session(database()) as session:
        session.add(document := Document(file=FileObject(filename="a.txt", content=CONTENT)))
        session.commit()
        assert document.file is not None
        assert fetch(document.file.sign(download_as="b.txt")) == CONTENT
        for method in ("PUT", "POST"):
            uploads = DirectUploads(Document.file, s3_method=method)
            ticket = uploads.begin(filename="c.txt", size=3).to_dict()
            assert ticket["claim"], ticket
        large = DirectUploads(Document.file, part_size="5 MB", multipart_from=1).begin(filename="d.txt", size=900_000)
        assert large.claim


if __name__ == "__main__":
    main()
