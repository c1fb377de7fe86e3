"""AWS's errors, from boto3 and through Terraform: one line each, with the next step."""

from __future__ import annotations

from pathlib import Path

import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    LoginRefreshRequired,
    LoginTokenLoadError,
    NoCredentialsError,
)

from orthweb.aws.errors import AwsError, explain_text, told
from orthweb.aws.session import Session
from orthweb.errors import UsageError
from orthweb.targets.aws.diagnostics import Diagnostic, problem

CREATING = (
    "creating EC2 VPC: operation error EC2: CreateVpc, https response error StatusCode: 403, RequestID: "
    "1f8d1b44-9d2c-4a52-9e3d-6d1a8a9b7c55, api error {code}: {words}"
)


@pytest.mark.parametrize(
    ("code", "words", "says", "hint"),
    [
        (
            "UnauthorizedOperation",
            "You are not authorized to perform this operation. User: arn:aws:iam::111122223333:user/ann is not "
            "authorized to perform: ec2:CreateVpc on resource: arn:aws:ec2:eu-central-1:111122223333:vpc/*",
            "you are not allowed to do ec2:CreateVpc",
            "orthweb policy",
        ),
        ("AccessDenied", "Access Denied", "you are not allowed to do ec2:CreateVpc", "orthweb policy"),
        (
            "ExpiredToken",
            "The security token included in the request is expired",
            "session has expired",
            "sign in again",
        ),
        ("RequestLimitExceeded", "Request limit exceeded.", "asks to go slower", "repeat"),
        ("Throttling", "Rate exceeded", "asks to go slower", "repeat"),
        ("VpcLimitExceeded", "The maximum number of VPCs has been reached.", "AWS says VpcLimitExceeded", "quota"),
        ("AddressLimitExceeded", "Too many addresses", "AWS says AddressLimitExceeded", "Service Quotas"),
        ("ServiceQuotaExceededException", "no more", "AWS says ServiceQuotaExceeded", "Service Quotas"),
        ("OptInRequired", "You are not subscribed to this service", "may not use this region", "aws.region"),
        ("InvalidClientTokenId", "The security token is invalid", "does not know these credentials", "access key"),
        ("InsufficientInstanceCapacity", "We currently do not have", "AWS says Insufficient", "another type"),
        ("OperationNotPermitted", "Load balancer 'x' cannot be deleted", "AWS says OperationNot", "production = false"),
        ("InvalidParameterCombination", "Cannot delete protected DB Instance, x", "protected", "--even-production"),
        ("EntityAlreadyExists", "Role with name x already exists.", "AWS says EntityAlreadyExists", "another name"),
    ],
)
def test_error_of_terraform_when_explained_then_is_one_line_with_the_next_step(
    code: str, words: str, says: str, hint: str
) -> None:
    found = explain_text(CREATING.format(code=code, words=words))
    assert says in found.words
    assert "RequestID" not in found.words
    assert "\n" not in found.words
    assert found.hint is not None
    assert hint in found.hint


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("No valid credential sources found", "there are no AWS credentials"),
        (
            "creating RDS DB Instance (x-index): DBInstanceAlreadyExists: exists",
            "AWS says DBInstanceAlreadyExists: exists",
        ),
        ("failed to refresh cached credentials, no EC2 IMDS role found", "there are no AWS credentials"),
        ("retrieving caller identity from STS: dial tcp: lookup sts.x.amazonaws.com: no such host", "no such host"),
    ],
)
def test_error_without_a_code_when_explained_then_told_by_its_words(text: str, says: str) -> None:
    found = explain_text(text)
    assert says in found.words
    assert found.hint


def test_error_of_boto3_when_told_then_names_what_was_wanted() -> None:
    answer = {
        "Error": {
            "Code": "AccessDeniedException",
            "Message": "User: x is not authorized to perform: ssm:GetParametersByPath on y",
        }
    }
    with (
        pytest.raises(
            AwsError, match="parameters /orthweb/pacs: you are not allowed to do ssm:GetParametersByPath"
        ) as caught,
        told("parameters /orthweb/pacs"),
    ):
        raise ClientError(answer, "GetParametersByPath")
    assert caught.value.code == "AccessDenied"


@pytest.mark.parametrize(
    ("error", "says", "hint"),
    [
        (NoCredentialsError(), "there are no AWS credentials", "aws sso login"),
        (LoginRefreshRequired(), "your AWS session has expired", "aws login"),
        (LoginTokenLoadError(error_msg="no token"), "your AWS session has expired", "aws login"),
        (ClientError({"Error": {"Code": "403", "Message": "Forbidden"}}, "HeadBucket"), "403: Forbidden", "allowed"),
        (EndpointConnectionError(endpoint_url="https://sts.nowhere.amazonaws.com"), "Could not connect", "proxy"),
    ],
)
def test_error_before_an_answer_when_told_then_has_the_next_step(error: Exception, says: str, hint: str) -> None:
    with pytest.raises(AwsError, match=says) as caught, told("AWS"):
        raise error
    assert hint in (caught.value.hint or "")


def diagnostic(summary: str, detail: str = "", address: str = "") -> Diagnostic:
    return Diagnostic("error", summary, detail, address)


def test_complaint_when_about_a_resource_then_names_it_for_people_and_for_terraform() -> None:
    found = problem(
        "terraform apply",
        [diagnostic(CREATING.format(code="VpcLimitExceeded", words="The maximum"), "", "module.network.aws_vpc.this")],
    )
    assert found.message.startswith("network (VPC) (module.network.aws_vpc.this): AWS says VpcLimitExceeded")
    assert "quota" in str(found.hint)


def test_complaints_when_many_are_alike_then_each_is_said_once_and_the_rest_counted() -> None:
    same = [diagnostic("error", CREATING.format(code="ExpiredToken", words="expired")) for _ in range(9)]
    assert problem("terraform apply", same).message == "your AWS session has expired"
    different = [diagnostic("No value", f"nothing at {number}") for number in range(9)]
    assert problem("terraform apply", different).message.splitlines()[-1] == "and 3 more"


def test_complaint_when_a_variable_is_wrong_then_its_own_words_are_said() -> None:
    detail = "zone_count must be 2 or 3.\n\nThis was checked by the validation rule at variables.tf:160,3-13."
    assert (
        problem("terraform plan", [diagnostic("Invalid value for variable", detail)]).message
        == "zone_count must be 2 or 3."
    )


@pytest.mark.parametrize(
    ("summary", "says"),
    [
        ("Error acquiring the state lock", "somebody else is changing this site"),
        ("AWS account ID not allowed: 111122223333", "credentials for another account than orthweb"),
        ("Failed to query available provider packages", "cannot get its AWS provider"),
        ("Saved plan is stale", "changed by somebody else"),
    ],
)
def test_complaint_of_terraform_itself_when_known_then_put_for_people(summary: str, says: str) -> None:
    found = problem("terraform plan", [diagnostic(summary, "and much more text")])
    assert says in found.message
    assert found.hint


LOCK = """Error message: operation error S3: PutObject, StatusCode: 412, api error PreconditionFailed
Lock Info:
  ID:        8f1c2a3b-0000-1111-2222-333344445555
  Path:      states/orthweb/pacs/terraform.tfstate
  Operation: OperationTypeApply
  Who:       ann@desk.example.org
  Version:   1.11.4
  Created:   2026-11-23 12:01:02.123456789 +0000 UTC
  Info:


Terraform acquires a state lock to protect the state from being written
by multiple users at the same time."""


@pytest.mark.parametrize(("what", "program"), [("Terraform apply", "terraform"), ("OpenTofu plan", "tofu")])
def test_lock_when_somebody_holds_it_then_says_who_since_when_and_how_it_is_broken(what: str, program: str) -> None:
    found = problem(what, [diagnostic("Error acquiring the state lock", LOCK)])
    assert found.message.startswith("ann@desk.example.org is changing this site since 2026-11-23 12:01:02 UTC")
    command = f"cd .orthweb/aws/work && {program} force-unlock 8f1c2a3b-0000-1111-2222-333344445555"
    assert str(found.hint).endswith(command)


def test_profile_when_it_asks_for_a_code_then_refused_with_the_way_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "config"
    configuration.write_text(
        "[profile desk]\nregion = eu-central-1\n"
        "[profile clinic]\nregion = eu-central-1\nsource_profile = desk\n"
        "role_arn = arn:aws:iam::111122223333:role/deploy\nmfa_serial = arn:aws:iam::111122223333:mfa/ann\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("AWS_PROFILE", "clinic")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(UsageError, match="AWS profile clinic: it asks for an MFA code") as caught:
        Session()
    assert "aws sts get-session-token" in (caught.value.hint or "")
    monkeypatch.setenv("AWS_PROFILE", "desk")
    assert Session().region == "eu-central-1"
    monkeypatch.setenv("AWS_PROFILE", "clinic")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a session's own")
    assert Session().region == "eu-central-1"


def test_complaint_when_debugging_then_terraform_s_own_words_are_there() -> None:
    found = problem("terraform apply", [diagnostic("summary of it", "detail of it", "aws_vpc.this")])
    assert found.__notes__ == ["aws_vpc.this\nsummary of it\ndetail of it"]


def test_region_when_boto3_does_not_know_it_and_nothing_answers_then_the_region_is_questioned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AwsError, match=r"^aws\.region: eu-central-9: there may be no such region") as caught:
        Session("eu-central-9").identity()
    assert "eu-central-1" in (caught.value.hint or "")
    with pytest.raises(AwsError, match=r"^AWS cannot be reached"):
        Session("eu-central-1").identity()


def test_profile_when_there_is_none_of_this_name_then_told_how_to_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AwsError, match="there is no such profile") as caught:
        Session("eu-central-1")
    assert "list-profiles" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "creating Secrets Manager Secret (orthweb/pacs/tls): operation error Secrets Manager: CreateSecret, https "
            "response error StatusCode: 400, RequestID: 1f8d1b44-9d2c, ResourceExistsException: The operation failed "
            "because the secret orthweb/pacs/tls already exists.",
            "AWS says ResourceExists: The operation failed because the secret orthweb/pacs/tls already exists.",
        ),
        (
            "creating S3 Bucket (pacs): operation error S3: CreateBucket, https response error StatusCode: 409, "
            "RequestID: 0A1B, HostID: abc+/=, BucketAlreadyExists: The requested bucket name is not available.",
            "AWS says BucketAlreadyExists: The requested bucket name is not available.",
        ),
    ],
)
def test_error_that_the_service_s_model_knows_when_explained_then_has_the_next_step(text: str, says: str) -> None:
    found = explain_text(text)
    assert (found.words, "another name" in (found.hint or "")) == (says, True)
