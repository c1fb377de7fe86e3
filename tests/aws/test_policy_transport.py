"""What moves is encrypted: no bucket, database, topic or balancer takes anything in the clear."""

from __future__ import annotations

import pytest

from aws.lifecycle import Lifecycle
from aws.resources import Resource, of_type, statements

pytestmark = [pytest.mark.timeout(900), pytest.mark.parametrize("life", ["stranger", "single", "ha"], indirect=True)]


def refuses_plain(policy: Resource, *actions: str) -> bool:
    """Tell whether a policy denies everyone everything that does not come over TLS."""
    return any(
        each.effect == "Deny"
        and each.actions in [(action,) for action in actions]
        and each.document["Principal"] in ("*", {"AWS": "*"}, {"AWS": ["*"]})
        and each.document["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for each in statements(policy)
    )


def test_buckets_when_made_then_refuse_what_comes_without_tls(life: Lifecycle) -> None:
    policies = {found.values["bucket"]: found for found in of_type(life.state, "aws_s3_bucket_policy")}
    for bucket in of_type(life.state, "aws_s3_bucket"):
        name = bucket.values["bucket"]
        policy = policies[name]
        assert refuses_plain(policy, "s3:*"), bucket.address
        denied = next(each for each in statements(policy) if "aws:SecureTransport" in str(each.document))
        assert set(denied.resources) == {f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"}


def test_database_when_made_then_refuses_connections_without_tls(life: Lifecycle) -> None:
    (group,) = of_type(life.state, "aws_db_parameter_group")
    parameters = {each["name"]: each["value"] for each in group.values["parameter"]}
    assert parameters["rds.force_ssl"] == "1"
    (database,) = of_type(life.state, "aws_db_instance")
    assert database.values["parameter_group_name"] == group.values["name"]


def test_database_when_made_then_logs_no_statements(life: Lifecycle) -> None:
    """Statements of the archive hold what identifies patients."""
    (group,) = of_type(life.state, "aws_db_parameter_group")
    parameters = {each["name"]: each["value"] for each in group.values["parameter"]}
    assert parameters["log_statement"] == "none"
    assert parameters["log_min_duration_statement"] == "-1"
    assert parameters.get("log_min_error_statement") in ("panic", "fatal")


def test_topics_when_made_then_refuse_what_comes_without_tls(life: Lifecycle) -> None:
    policies = {found.values["arn"]: found for found in of_type(life.state, "aws_sns_topic_policy")}
    for topic in of_type(life.state, "aws_sns_topic"):
        policy = policies.get(topic.values["arn"], topic)
        assert refuses_plain(policy, "sns:Publish", "SNS:Publish"), topic.address


def test_balancers_when_made_then_pass_tls_through_to_hosts_that_answer_checks_over_tls(life: Lifecycle) -> None:
    listeners = of_type(life.state, "aws_lb_listener")
    assert {found.values["port"] for found in listeners} <= {443, 11112}
    assert {found.values["protocol"] for found in listeners} <= {"TCP"}
    for group in of_type(life.state, "aws_lb_target_group"):
        (check,) = group.values["health_check"]
        assert check["protocol"] == "HTTPS", group.address
