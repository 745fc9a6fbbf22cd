"""The stores with limits really have them, seen through a client that Filerow has no part in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.servers import limited_s3
from tests.servers._s3 import S3Server
from tests.servers.limited_s3 import LIMITED, LimitedS3, Limits

pytestmark = [pytest.mark.servers, pytest.mark.thorough]


def outcome(call: Any, **named: Any) -> str:
    """Return what a client of botocore makes of an answer."""
    from botocore.exceptions import ClientError

    try:
        call(**named)
    except ClientError as error:
        return str(error.response["ResponseMetadata"]["HTTPStatusCode"])
    return "ok"


def outcomes(server: S3Server, limits: Limits) -> dict[str, str]:
    """Return what becomes of each kind of request."""
    prefix = server.make_prefix()
    with LimitedS3(server, limits) as limited:
        asked = limited.server
        bucket, client = asked.shared_bucket, asked.client
        at = {name: {"Bucket": bucket, "Key": f"{prefix}{name}"} for name in ("a", "b", "missing")}
        client.put_object(**at["a"], Body=b"first")
        client.put_object(**at["b"], Body=b"first")
        found = {
            "put": outcome(client.put_object, **at["a"], Body=b"second", IfNoneMatch="*"),
            "copy": outcome(client.copy_object, **at["b"], CopySource=at["a"], IfNoneMatch="*"),
            "list": outcome(client.list_objects_v2, Bucket=bucket, Prefix=prefix),
            "missing": outcome(client.get_object, **at["missing"]),
            "one missing": outcome(client.delete_object, **at["missing"]),
            "bulk": outcome(client.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": at["a"]["Key"]}]}),
            "one": outcome(client.delete_object, **at["b"]),
        }
        client.close()
    server.client.delete_object(**at["a"])
    return found


WHOLE = {"put": "412", "copy": "412", "list": "ok", "missing": "404", "one missing": "ok", "bulk": "ok", "one": "ok"}


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("ignores-conditions", {"put": "ok", "copy": "ok"}),
        ("ignores-on-copies", {"copy": "ok"}),
        ("ignores-on-uploads", {"put": "ok"}),
        ("answers-501", {"put": "501", "copy": "501"}),
        ("answers-400", {"put": "400", "copy": "400"}),
        ("no-bulk-delete", {"bulk": "400"}),
        ("no-bulk-delete-501", {"bulk": "501", "one missing": "404"}),
        ("no-listing", {"list": "403", "missing": "403"}),
        ("least", {"put": "ok", "copy": "ok", "bulk": "501", "list": "403", "missing": "403"}),
    ],
)
def test_a_limited_store_differs_in_its_limits_only(s3_server: S3Server, name: str, different: dict[str, str]) -> None:
    assert outcomes(s3_server, LIMITED[name]) == WHOLE | different


def test_a_store_without_limits_answers_as_the_server_does(s3_server: S3Server) -> None:
    assert outcomes(s3_server, Limits()) == WHOLE


def test_what_credentials_may_not_do_is_forbidden(s3_server: S3Server) -> None:
    bucket, key = s3_server.shared_bucket, f"{s3_server.make_prefix()}a"
    with LimitedS3(s3_server, Limits(denied=frozenset({"s3:DeleteObject", "s3:AbortMultipartUpload"}))) as limited:
        client = limited.server.client
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
        assert outcome(client.delete_object, Bucket=bucket, Key=key) == "403"
        [error] = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]})["Errors"]
        assert (error["Key"], error["Code"]) == (key, "AccessDenied")
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        assert outcome(client.abort_multipart_upload, Bucket=bucket, Key=key, UploadId=upload) == "403"
        assert [one.action for one in limited.asked][-2:] == ["s3:PutObject", "s3:AbortMultipartUpload"]
        client.close()
    s3_server.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    s3_server.client.delete_object(Bucket=bucket, Key=key)


def test_large_bodies_pass_a_limited_store_whole(s3_server: S3Server) -> None:
    bucket, key, content = s3_server.shared_bucket, f"{s3_server.make_prefix()}a", bytes(range(256)) * 20_000
    with LimitedS3(s3_server, limited_s3.IGNORES_CONDITIONS) as limited:
        client = limited.server.client
        for _ in range(2):
            client.put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
        assert client.get_object(Bucket=bucket, Key=key)["Body"].read() == content
        assert limited.count("put") == 2
        client.close()
    s3_server.client.delete_object(Bucket=bucket, Key=key)
