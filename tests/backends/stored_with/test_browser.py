"""``filerow.js`` computes the checksums that a bucket demands, for a form, for a PUT and for parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from filerow import StoredWith, storages
from tests.backends.stored_with.conftest import Model, on_s3
from tests.backends.stored_with.test_read_back import LARGE, Sessions, committed
from tests.direct.conftest import PNG, Store
from tests.direct.site import Site
from tests.direct.test_browser import CORS, file_of, page, upload
from tests.servers._s3 import S3Server
from tests.servers.chromium import Page
from tests.servers.demanding_s3 import DemandingS3

__all__ = ("page",)
pytestmark = pytest.mark.servers
MAKE_LARGE = f"new File([new Uint8Array({len(LARGE)}).fill(7)], 'large.bin')"


@pytest.fixture
def demanding(s3_server: S3Server, site: Site) -> Iterator[DemandingS3]:
    """A bucket that demands encryption and checksums, and takes uploads from every page."""
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_cors(Bucket=bucket, CORSConfiguration=CORS)
    with DemandingS3(s3_server, encryption="AES256", checksum=True) as relay:
        backend = on_s3(s3_server, bucket, aws_endpoint=relay.endpoint, encryption="AES256", checksum="sha256")
        storages.register_backend(backend)
        yield relay


def test_a_browser_brings_the_checksums_that_are_demanded(
    page: Page, site: Site, demanding: DemandingS3, session_of: Sessions
) -> None:
    model = Model(StoredWith(tags={"team": "a"}))
    store = Store("s3", storages.get_backend("direct"), site)
    site.uploads = {
        "form": store.uploads(model.Scan.file),
        "put": store.uploads(model.Scan.file, s3_method="PUT"),
        "large": store.uploads(model.Scan.file, multipart_from="6 MB", part_size="5 MiB"),
    }
    session = session_of(model)
    for name, file, body in (
        ("form", file_of(PNG, "cat.png", "image/png"), PNG),
        ("put", file_of(PNG, "cat.png", "image/png"), PNG),
        ("large", MAKE_LARGE, b"\7" * len(LARGE)),
    ):
        answer = upload(page, file, f"{{url: '/uploads/{name}', retries: 0}}")
        assert answer.get("claim"), (name, answer, demanding.refused())
        assert answer["seen"][-1]["loaded"] == len(body)
        scan = committed(session, model, file=site.uploads[name].claim(answer["claim"]))
        assert scan.file.get_content() == body
    assert demanding.refused() == []
    assert {"post", "put", "start", "part", "complete"} <= demanding.kinds()
    assert site.actions == ["begin", "resume", "begin", "resume", "begin", "resume", "resume"]


def test_a_page_that_cannot_compute_a_checksum_says_so(page: Page, site: Site, demanding: DemandingS3) -> None:
    model = Model(StoredWith(cache_control="no-store"))
    site.uploads = {"form": Store("s3", storages.get_backend("direct"), site).uploads(model.Scan.file)}
    page.evaluate("Object.defineProperty(crypto, 'subtle', {value: undefined}), 0")
    answer = upload(page, file_of(PNG, "cat.png", "image/png"), "{url: '/uploads/form', retries: 0}")
    assert answer["error"] == "UploadError"
    assert "HTTPS" in answer["message"]
    assert "post" not in demanding.kinds()
    model.engine.dispose()
