"""Extra ``azure``: store through obstore, sign a URL that binds a name, and take a direct upload over, against Azurite."""

import os
from typing import Any

from sqlalchemy.orm import Session

from filerow import FileObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from tools.extras.programs.model import CONTENT, Document, database
from tools.extras.programs.web import fetch, send


def main() -> None:
    """Store, sign and upload; without a server, sign only."""
    endpoint = os.environ.get("AZURE_ENDPOINT", "")
    options: dict[str, Any] = {
        "account_name": os.environ.get("AZURE_ACCOUNT", "a"),
        "account_key": os.environ.get("AZURE_KEY", "a2V5"),
        **({"endpoint": endpoint, "client_options": {"allow_http": True}} if endpoint else {}),
    }
    storages.register_backend(ObstoreBackend("docs", f"az://{os.environ.get('AZURE_CONTAINER', 'c')}/docs", **options))
    ticket = DirectUploads(Document.file).begin(filename="b.txt", size=len(CONTENT))
    assert "sp=c" in str(ticket.to_dict()), ticket
    if not endpoint:
        return
    send(ticket.to_dict(), CONTENT)
    with Session(database()) as session:
        stored = Document(file=FileObject(filename="ä.txt", content=CONTENT))
        uploaded = Document(file=FileObject.from_claim(ticket.claim, Document.file))
        session.add_all([stored, uploaded])
        session.commit()
        for document in (stored, uploaded):
            assert document.file is not None
            assert fetch(document.file.sign(download_as="ö.txt")) == CONTENT


if __name__ == "__main__":
    main()
