"""The S3 server of the tests is as strict as it says: else what passes against it would prove nothing."""

from __future__ import annotations

import configparser
import ssl
from datetime import timedelta
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from live.s3_server import S3Server


def _client(s3: S3Server) -> Any:
    file = configparser.ConfigParser()
    file.read(s3.credentials)
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        verify=str(s3.ca),
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
        **dict(file["default"]),
    )


def _code(caught: pytest.ExceptionInfo[ClientError]) -> str:
    return str(caught.value.response["Error"]["Code"])


def test_request_when_it_is_signed_then_it_is_carried_out_and_recorded(s3: S3Server) -> None:
    client = _client(s3)
    client.put_object(Bucket=s3.bucket, Key="a b/c+ü.dcm", Body=b"content", ServerSideEncryption="AES256")
    assert client.get_object(Bucket=s3.bucket, Key="a b/c+ü.dcm")["Body"].read() == b"content"
    assert s3.keys() == ["a b/c+ü.dcm"]
    (put,) = s3.seen("PUT", "c+ü")
    assert put.headers["x-amz-server-side-encryption"] == "AES256"
    s3.empty()


def test_request_when_it_is_anonymous_then_it_is_refused(s3: S3Server) -> None:
    s3.write("one", b"secret")
    trust = ssl.create_default_context(cafile=s3.ca)
    answer = httpx.get(f"{s3.endpoint}/{s3.bucket}/one", verify=trust, trust_env=False)
    assert answer.status_code == 403
    assert b"secret" not in answer.content
    s3.empty()


def test_request_when_key_secret_or_clock_is_wrong_then_s3_says_which(s3: S3Server) -> None:
    old = _client(s3)
    s3.renew_credentials()
    with pytest.raises(ClientError) as caught:
        old.put_object(Bucket=s3.bucket, Key="one", Body=b"")
    assert _code(caught) == "ExpiredToken"
    s3.credentials.write_text(s3.credentials.read_text().replace("secret_access_key = ", "secret_access_key = 0"))
    with pytest.raises(ClientError) as caught:
        _client(s3).put_object(Bucket=s3.bucket, Key="one", Body=b"")
    assert _code(caught) == "SignatureDoesNotMatch"
    s3.renew_credentials()
    s3.clock = timedelta(minutes=20)
    with pytest.raises(ClientError) as caught:
        _client(s3).put_object(Bucket=s3.bucket, Key="one", Body=b"")
    assert _code(caught) == "RequestTimeTooSkewed"
    s3.clock = timedelta(0)
    assert not s3.keys()


@pytest.mark.parametrize(("harm", "stored"), [("cut request", 0), ("cut answer", 1), ("lose answer", 1)])
def test_fault_when_the_connection_is_cut_then_the_client_sees_it(s3: S3Server, harm: str, stored: int) -> None:
    client = _client(s3)
    if harm == "cut answer":
        client.put_object(Bucket=s3.bucket, Key="one", Body=bytes(100_000))

    def use() -> None:
        if harm == "cut answer":
            client.get_object(Bucket=s3.bucket, Key="one")["Body"].read()
        else:
            client.put_object(Bucket=s3.bucket, Key="one", Body=bytes(100_000))

    with s3.fault(harm=harm, times=1) as fault, pytest.raises(BotoCoreError):
        use()
    assert fault.hits == 1
    assert len(s3.keys()) == stored
    s3.empty()


def test_fault_when_it_is_told_for_one_method_then_only_that_is_hit(s3: S3Server) -> None:
    client = _client(s3)
    with s3.fault(503, "SlowDown", methods={"PUT"}, times=1):
        with pytest.raises(ClientError) as caught:
            client.put_object(Bucket=s3.bucket, Key="one", Body=b"1")
        assert _code(caught) == "SlowDown"
        client.put_object(Bucket=s3.bucket, Key="one", Body=b"1")
    s3.corrupt("one")
    assert s3.read("one") == b"0"
    s3.empty()
