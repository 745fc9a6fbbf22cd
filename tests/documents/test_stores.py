"""Rules, policies and requests for stores: given to a server, or to the store's own client, that reads them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from filerow import FileObject, StoredObject, storages
from filerow.backends.obstore import ObstoreBackend
from filerow.direct import DirectUploads, Ticket
from tests.backends.stores import azure_options, s3_options
from tests.documents import blocks
from tests.documents.reader import Reader, commands
from tests.documents.schemas import AZURE_POLICY
from tests.servers._process import ROOT
from tests.servers._s3 import S3Server
from tests.servers.azurite import AzuriteServer

SECRET = "a secret of these tests, and no other"
ORIGIN = "https://app.example"


class Base(DeclarativeBase):
    pass


class Document(Base):
    __tablename__ = "document"
    id: Mapped[int] = mapped_column(primary_key=True)
    file: Mapped[FileObject | None] = mapped_column(StoredObject("docs", max_size="200 MB"))


def block(page: str, words: str) -> Any:
    return json.loads(blocks.find(__file__, f"docs/{page}.md json {words}").text)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    yield
    storages.clear_backends()


def begin(backend: ObstoreBackend, size: int = 9, **options: Any) -> tuple[DirectUploads, Ticket]:
    storages.register_backend(backend)
    uploads = DirectUploads(Document.file, secret=SECRET, **options)
    return uploads, uploads.begin(filename="cat.png", size=size, content_type="image/png")


# -- Amazon's ----------------------------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.parametrize("server", ["s3_server", "moto_server"])
@pytest.mark.parametrize(("page", "words"), [("direct-upload", "unfinished uploads"), ("stores", "old versions")])
def test_s3_takes_the_lifecycle_rule(request: pytest.FixtureRequest, server: str, page: str, words: str) -> None:
    s3: S3Server = request.getfixturevalue(server)
    rule, bucket = block(page, words), s3.make_bucket()
    s3.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rule)
    found = s3.client.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
    assert [one["AbortIncompleteMultipartUpload"] for one in found] == [{"DaysAfterInitiation": 1}]
    assert [one["Status"] for one in found] == ["Enabled"]


def allowed(url: str, origin: str, method: str, headers: str) -> str | None:
    """Ask a store as a browser does before it uploads, and return the origin that it allows."""
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    answer = httpx.options(url, headers=asked, trust_env=False)
    return answer.headers.get("access-control-allow-origin") if answer.is_success else None


@pytest.mark.servers
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_s3_lets_a_page_follow_a_ticket_by_these_rules(s3_server: S3Server, method: str) -> None:
    bucket = s3_server.make_bucket()
    s3_server.client.put_bucket_cors(Bucket=bucket, CORSConfiguration=block("direct-upload", "CORSRules"))
    backend = ObstoreBackend("docs", f"s3://{bucket}", **s3_options(s3_server))
    _, ticket = begin(backend, s3_method=method)
    assert ticket.method == method
    names = ",".join(ticket.headers).lower() or "content-type"
    url = ticket.url if method == "PUT" else f"{ticket.url}/any"  # SeaweedFS allows all origins to ask for a bucket itself
    until = time.monotonic() + 30  # SeaweedFS takes a moment to obey new rules
    while (found := allowed(url, ORIGIN, method, names)) != ORIGIN and time.monotonic() < until:
        time.sleep(0.05)
    assert found == ORIGIN
    assert allowed(url, "https://evil.example", method, names) is None


def test_iam_takes_the_policy_and_it_has_all_actions_of_the_table(moto_server: S3Server) -> None:
    policy = block("permissions", "s3:GetObject")
    form = {"Action": "CreatePolicy", "Version": "2010-05-08", "PolicyName": "filerow", "PolicyDocument": json.dumps(policy)}
    authorization = "AWS4-HMAC-SHA256 Credential=any/20250101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0"
    answer = httpx.post(moto_server.endpoint, data=form, headers={"Authorization": authorization}, trust_env=False)
    assert answer.status_code == 200, answer.text
    wrong = {**form, "PolicyName": "wrong", "PolicyDocument": json.dumps({**policy, "Statement": [{"Effect": "Allowed"}]})}
    assert (
        httpx.post(moto_server.endpoint, data=wrong, headers={"Authorization": authorization}, trust_env=False).status_code == 400
    )

    table = (ROOT / "docs" / "permissions.md").read_text().partition("## Amazon")[0]
    named = set(re.findall(r"`(s3:\w+)`", table))
    granted = {action for statement in policy["Statement"] for action in statement["Action"]}
    [besides] = re.findall(r"^\| all of it \| ([^|]*) \|", table, re.MULTILINE)
    assert named == granted | set(re.findall(r"`(s3:\w+)`", besides))
    on_bucket = {"s3:ListBucket", "s3:ListBucketMultipartUploads"}
    for statement in policy["Statement"]:
        assert statement["Resource"].endswith("/*") != bool(on_bucket & set(statement["Action"])), statement


# -- Google's and Azure's ----------------------------------------------------------------------------------------------


@pytest.mark.servers
def test_google_s_rules_have_what_a_ticket_needs(gcs_facade: Any) -> None:
    [rule] = block("direct-upload", "responseHeader")
    assert set(rule) <= {"origin", "method", "responseHeader", "maxAgeSeconds"}, "resource Bucket of the JSON API"
    assert rule["origin"] == [ORIGIN]
    backend = ObstoreBackend(
        "docs", f"gs://{gcs_facade.make_bucket()}", base_url=gcs_facade.endpoint, service_account_key=account()
    )
    _, ticket = begin(backend)
    assert ticket.method in rule["method"]
    assert {name.lower() for name in ticket.headers} <= {name.lower() for name in rule["responseHeader"]}


def account() -> str:
    """Return a service account's key that only this test knows."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
    return json.dumps(
        {
            "type": "service_account",
            "private_key": pem,
            "private_key_id": "1",
            "client_email": "shop@example.iam",
            "client_id": "1",
        }
    )


def test_google_s_own_client_reads_the_lifecycle_rule() -> None:
    bucket = pytest.importorskip("google.cloud.storage.bucket", reason="not covered: google-cloud-storage is not installed")
    [rule] = block("stores", "daysSinceNoncurrentTime")["rule"]
    assert bucket.LifecycleRuleDelete.from_api_repr(rule) == bucket.LifecycleRuleDelete(days_since_noncurrent_time=30)


def test_azure_s_policy_has_the_form_of_one() -> None:
    policy = block("direct-upload", "Lifecycle")
    jsonschema.validate(policy, AZURE_POLICY)


@pytest.mark.servers
def test_azure_lets_a_page_follow_a_ticket_by_this_command(azurite_server: AzuriteServer) -> None:
    from azure.storage.blob import CorsRule

    command = shlex.split(blocks.find(__file__, "docs/direct-upload.md sh az storage cors").text.replace("\\\n", ""))
    assert command[:4] == ["az", "storage", "cors", "add"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options.pop("--services") == "b"
    assert set(options) == {"--methods", "--origins", "--allowed-headers", "--max-age"}
    rule = CorsRule(
        options["--origins"].split(","), options["--methods"].split(","), max_age_in_seconds=int(options["--max-age"]),
        allowed_headers=options["--allowed-headers"].split(","), exposed_headers=[],
    )  # fmt: skip
    with azurite_server.client() as client:
        client.set_service_properties(cors=[rule])
        try:
            backend = ObstoreBackend("docs", f"az://{azurite_server.make_container()}", **azure_options(azurite_server))
            _, ticket = begin(backend)
            names = ",".join(ticket.headers).lower()
            assert allowed(ticket.url, ORIGIN, ticket.method, names) == ORIGIN
            assert allowed(ticket.url, "https://evil.example", ticket.method, names) is None
        finally:
            client.set_service_properties(cors=[])


# -- without a browser -------------------------------------------------------------------------------------------------


def curl_of(method: str) -> str:
    """Return the lines for a ticket of one method."""
    text = blocks.find(__file__, "docs/direct-upload.md sh curl").text
    [found] = re.findall(rf'^# a ticket with "method": "{method}".*\n((?:[^#].*\n?)+)', text, re.MULTILINE)
    return str(found)


@pytest.mark.servers
@pytest.mark.parametrize("method", ["POST", "PUT", "PARTS"])
def test_curl_follows_a_ticket(s3_server: S3Server, tmp_path: Path, method: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("not covered: curl is not installed; to install it: apt-get install curl")
    size = 17 * 1024 * 1024 if method == "PARTS" else 9
    backend = ObstoreBackend("docs", f"s3://{s3_server.make_bucket()}", **s3_options(s3_server))
    options = {"multipart_from": "16 MB"} if method == "PARTS" else {"s3_method": method}
    uploads, ticket = begin(backend, size, **options)
    assert ticket.method == method
    script, reader = curl_of(method), Reader(tmp_path)
    content = b"\x89PNG\r\n\x1a\n" + bytes(size - 8)
    (tmp_path / ("large.bin" if method == "PARTS" else "cat.png")).write_bytes(content)
    if method == "POST":
        fields = " ".join(f"--form-string {shlex.quote(f'{name}={value}')}" for name, value in ticket.fields.items())
        assert {"key", "policy"} <= set(ticket.fields)
        script = script.replace('--form-string "key=…" --form-string "policy=…" --form-string "…"', fields)
    if method == "PUT":
        shown = dict(re.findall(r'-H "([\w-]+): ([^"]*)"', script))
        every = " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in ticket.headers.items())
        assert set(shown) <= set(ticket.headers), "the page shows one of them"
        script = re.sub(r'-H "[^"]*"', lambda _: every, script)
    if method == "PARTS":
        assert str(ticket.part_size) in script
        first, second = ticket.parts
        quoted = [
            " ".join(f"-H {shlex.quote(f'{name}: {value}')}" for name, value in part.headers.items()) for part in ticket.parts
        ]
        script = script.strip().replace("curl ", f"curl {quoted[0]} ")
        script += f" && curl {quoted[1]} --upload-file part-ab {shlex.quote(second.url)}"
        reader.environment["URL_OF_PART_1"] = first.url
    reader.environment["URL"] = ticket.url
    reader.shell(script.replace("curl ", "curl -sS --fail --noproxy '*' "))
    assert uploads.claim(ticket.claim).size == size


# -- the conformance kit ------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_conformance_says_what_the_page_shows(s3_server: S3Server, tmp_path: Path) -> None:
    [(command, shown)] = commands(blocks.find(__file__, "docs/conformance.md console"))
    bucket = s3_server.make_bucket()
    reader = Reader(
        tmp_path, AWS_ENDPOINT=s3_server.endpoint, AWS_ACCESS_KEY_ID=s3_server.access_key,
        AWS_SECRET_ACCESS_KEY=s3_server.secret_key,
    )  # fmt: skip
    command = command.replace("s3://my-bucket", f"s3://{bucket}").replace("eu-west-1", s3_server.region)
    lines = reader.shell(command).splitlines()
    patterns = [likened(line) for line in shown.splitlines() if line.strip() != "…"]
    unseen = [pattern for pattern in patterns if not any(re.fullmatch(pattern, line) for line in lines)]
    assert not unseen, "\n".join(lines)
    assert s3_server.keys(bucket) == set()


def likened(line: str) -> str:
    """Return a pattern for a line of the page: its times may differ, and ``…`` is anything."""
    return ".*".join(map(re.escape, line.split("…"))).replace(r"0\.21", r"\d+\.\d+").replace(r"61\.3", r"\d+\.\d+")


def test_each_block_of_json_is_read_by_one_of_these() -> None:
    words = [
        "unfinished uploads",
        "old versions",
        "CORSRules",
        "s3:GetObject",
        "responseHeader",
        "daysSinceNoncurrentTime",
        "Lifecycle",
    ]
    left = [one for one in blocks.of(__file__) if one.language == "json" and sum(word in one.text for word in words) != 1]
    assert not left, "a block of JSON that no test here reads"
