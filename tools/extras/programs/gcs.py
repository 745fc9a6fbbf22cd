"""Extra ``gcs``: a signed URL that binds a name, and a ticket, with a service account's key; no server is asked."""

import os
from urllib.parse import parse_qs, urlsplit

from filerow import storages
from filerow.backends.base import SignRequest
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads
from tools.extras.programs.model import Document


def main() -> None:
    """Sign."""
    backend = ObstoreBackend("docs", "gs://bucket/docs", service_account_key=os.environ["GCS_KEY"])
    storages.register_backend(backend)
    url = backend.sign("a.txt", SignRequest("GET", 60, content_disposition="attachment"))
    asked = parse_qs(urlsplit(url).query)
    assert asked["response-content-disposition"] == ["attachment"], url
    assert len(asked["X-Goog-Signature"][0]) == 512
    ticket = DirectUploads(Document.file).begin(filename="a.txt", size=3)
    assert "X-Goog-Signature" in str(ticket.to_dict()), ticket


if __name__ == "__main__":
    main()
