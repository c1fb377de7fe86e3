"""A site on AWS driven by ``orthweb``, from the first plan to nothing left. Terraform is real, AWS is the emulator."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from aws.driven_life import HOSTNAME, NAME, Driven, resources_of
from aws.restored_life import Restored

pytestmark = pytest.mark.timeout(1200)


def test_plan_when_nothing_is_there_then_sums_up_what_would_be_made_and_costs(driven: Driven) -> None:
    assert driven.planned.code == 0, driven.planned.err
    assert "+ create database" in driven.planned.out
    assert "Plan: " in driven.planned.out
    assert " resources to create." in driven.planned.out
    assert "Cost: about $" in driven.planned.out
    assert "! warn aws.dicom_from" in driven.planned.out


def test_plan_when_made_then_nothing_was_made_in_the_account(driven: Driven) -> None:
    assert driven.untouched == set()


def test_up_when_interrupted_while_the_database_is_made_then_ends_in_order(driven: Driven) -> None:
    assert driven.interrupted.code == 130, driven.interrupted.err
    assert "stopping: AWS finishes what it is at" in driven.interrupted.err
    assert "stopped: orthweb up goes on where it was" in driven.interrupted.err


def test_up_when_it_was_interrupted_then_goes_on_and_keeps_the_database(driven: Driven) -> None:
    assert driven.up.code == 0, driven.up.err
    assert driven.aws is not None
    made = [call for call in driven.aws.calls() if call.operation == "CreateDBInstance"]
    assert len(made) == 1


def test_up_when_hosts_serve_then_says_what_they_did_and_where_the_site_is(driven: Driven) -> None:
    said = driven.up.err
    assert "waiting-for-database" in driven.interrupted.err + said or "ready, serving" in said
    assert "ready, serving" in said
    assert f"https://{HOSTNAME}" in driven.up.out


def test_up_when_the_site_answers_then_it_was_asked_as_clients_will(driven: Driven) -> None:
    assert driven.up.code == 0
    notes = [json.loads(line) for line in (driven.folder / "asked.jsonl").read_text().splitlines()]
    assert notes[0]["url"] == f"https://{HOSTNAME}:443"
    assert notes[0]["dicom"] == f"ORTHANC@{HOSTNAME}:11112"
    assert notes[0]["calling"] == "OWCHECK123456789"
    assert "Clinic CA" in notes[0]["ca"]
    assert notes[0]["client"] == 0o600
    assert f"DNS: {HOSTNAME} has to point to " in driven.up.err


def test_plan_when_the_site_is_as_its_file_says_then_is_empty(driven: Driven) -> None:
    assert "Nothing to change" in driven.again.out
    assert "Plan: nothing to change." in driven.again.out


def test_status_when_the_site_runs_then_shows_hosts_database_bucket_and_cost(driven: Driven) -> None:
    assert driven.status.code == 0, driven.status.err
    for words in ("host i-", "running", "database", "PostgreSQL", f"{NAME}-images-", "Cost   about $"):
        assert words in driven.status.out


def test_credentials_when_asked_for_then_are_those_that_the_hosts_made(driven: Driven) -> None:
    assert driven.hosts is not None
    assert resources_of(driven.credentials) == {"user": "admin", "password": driven.hosts.password}


def test_trust_when_asked_for_then_names_the_site_as_clients_reach_it(driven: Driven) -> None:
    assert driven.trust.code == 0, driven.trust.err
    assert f"{HOSTNAME} 11112" in driven.trust.out


def test_client_certificate_when_issued_then_is_the_site_s_and_the_authority_s_key_stays_nowhere(
    driven: Driven,
) -> None:
    assert driven.client.code == 0, driven.client.err
    certificate = x509.load_pem_x509_certificate(driven.issued.certificate)
    assert "site CA" in certificate.issuer.rfc4514_string()
    assert "ct1.key" in driven.issued.keys
    assert "site-ca.key" not in driven.issued.keys


def test_logs_when_shown_then_have_each_service_of_the_hosts(driven: Driven) -> None:
    assert driven.logs.code == 0, driven.logs.err
    for words in ("archive", "archive says this", "edge says that", "host says something"):
        assert words in driven.logs.out


def test_validate_when_the_site_s_name_leads_nowhere_then_says_so_once_and_where_it_should_lead(driven: Driven) -> None:
    assert driven.validated.code == 1
    assert f"error: {HOSTNAME}: this machine does not find the site's name in DNS" in driven.validated.err
    assert "let the name point to " in driven.validated.err
    assert driven.validated.out == ""


@pytest.mark.parametrize(
    ("what", "says"),
    [
        ("name", "error: name: other: the site on AWS has clinic: its database, bucket and keys would be replaced"),
        ("network", "error: aws.network: 10.90.0.0/16: the site on AWS has 10.83.0.0/16"),
        ("region", "error: aws.region: eu-west-1: the site on AWS has eu-central-1"),
        ("store", "error: store.kind: database: the images of this site are in s3"),
        ("target", "error: target: local: this site runs on AWS, with its images"),
    ],
)
def test_change_when_it_would_cost_the_site_its_data_then_refused_with_key_and_reason(
    driven: Driven, what: str, says: str
) -> None:
    said = driven.refused[what]
    assert said.code == 2
    assert says in said.err
    assert "next: " in said.err


def test_change_when_applied_then_data_stays_and_hosts_take_the_site_file_up(driven: Driven) -> None:
    said = driven.changed
    assert said.code == 0, said.err
    assert "instance_type (aws.instance_type)" in said.out
    assert "running hosts take it up" in said.out
    assert "changed host" in said.err
    assert "replace" not in said.out
    assert "delete" not in said.out
    assert driven.hosts is not None
    assert 'aet = "CLINIC"' in driven.hosts.applied[-1]["site"]
    assert "Nothing to change" in driven.settled.out


def test_up_when_a_host_fails_then_its_last_lines_are_shown_and_it_can_be_repeated(driven: Driven) -> None:
    assert driven.failed.code == 1
    assert "failed: no space left on device" in driven.failed.err
    assert "error:   pulling images" in driven.failed.err
    assert driven.mended.code == 0, driven.mended.err


def test_down_when_called_then_says_what_still_costs_and_up_starts_it_again(driven: Driven) -> None:
    assert driven.stopped.code == 0, driven.stopped.err
    assert "still costs: " in driven.stopped.err
    assert driven.paused.code == 1
    assert "stopped" in driven.paused.out
    assert driven.started.code == 0, driven.started.err
    assert "> start database" in driven.started.out


def test_destroy_when_in_production_then_refused_without_the_override(driven: Driven) -> None:
    assert driven.guarded.code == 2
    assert "aws.production: true: this site is protected" in driven.guarded.err
    assert "--even-production" in driven.guarded.err


def test_destroy_when_done_then_said_what_is_lost_and_leaves_the_final_snapshot_alone(driven: Driven) -> None:
    assert driven.destroyed.code == 0, driven.destroyed.err
    for words in ("images: ", "0 objects", "database clinic-index", "final snapshot stays: clinic-final-"):
        assert words in driven.destroyed.err
    assert {line.split()[0] for line in driven.left} == {"aws_db_snapshot"}
    assert not (driven.site / ".orthweb").exists()


def test_secrets_when_looked_for_then_are_in_no_file_of_terraform_s_and_in_no_process(driven: Driven) -> None:
    assert driven.kept
    for name, content in driven.kept.items():
        for secret in driven.secrets:
            assert secret.encode() not in content, name
    for step, said in driven.said().items():
        if step != "credentials":
            assert not any(secret in said.out + said.err for secret in driven.secrets), step
    assert driven.exposed == set()


def test_own_certificate_when_given_then_is_in_secrets_manager_alone(driven: Driven) -> None:
    assert driven.aws is not None
    assert driven.up.code == 0
    assert any(call.operation == "PutSecretValue" and call.terraform for call in driven.aws.calls())


def test_restored_site_when_planned_again_then_keeps_the_snapshot_s_key_and_nothing_changes(restored: Restored) -> None:
    assert restored.up.code == 0, restored.up.err
    assert restored.database["KmsKeyId"] == restored.key
    assert restored.database["MultiAZ"]
    assert "Plan: nothing to change." in restored.again.out


def test_group_of_hosts_when_made_then_all_of_them_are_waited_for(restored: Restored) -> None:
    said = {line.split()[1] for line in restored.up.err.splitlines() if line.endswith(": ready, serving")}
    assert len(said) == 2


def test_single_host_when_a_group_is_protected_then_refused_before_anything_is_gone(restored: Restored) -> None:
    assert restored.single.code == 2
    assert "error: aws.topology: would remove the load balancer" in restored.single.err
    assert "next: set aws.production = false" in restored.single.err


def test_destroy_when_production_was_only_planned_away_then_refused_and_all_is_there(restored: Restored) -> None:
    assert restored.disarmed.code == 0, restored.disarmed.err
    assert restored.guarded.code == 2
    assert "aws.production: true: this site is protected" in restored.guarded.err
    before, after = restored.untouched
    assert before == after


def test_down_when_hosts_are_a_group_then_it_is_emptied_and_up_fills_it_again(restored: Restored) -> None:
    assert restored.stopped.code == 0, restored.stopped.err
    assert f"group of hosts {restored.name}: ends its hosts" in restored.stopped.err
    assert restored.started.code == 0, restored.started.err
    assert "ready, serving" in restored.started.err


def test_alarms_when_the_site_is_stopped_then_nobody_is_woken(restored: Restored) -> None:
    assert restored.silent
    assert not any(restored.silent)
    assert "> start alarms" in restored.started.out


def test_destroy_when_in_production_then_keys_and_secrets_wait_for_a_month(restored: Restored) -> None:
    assert restored.destroyed.code == 0, restored.destroyed.err
    soon = datetime.now(UTC) + timedelta(days=29)
    assert all(each is not None and each > soon for each in restored.waiting["keys"])
    assert len(restored.waiting["secrets"]) == 5
    assert all(each is not None for each in restored.waiting["secrets"].values())


def test_destroy_when_done_then_tells_which_key_the_snapshot_needs(driven: Driven, restored: Restored) -> None:
    assert f"encrypted with {restored.key}, which is not the site's and stays" in restored.destroyed.err
    said = driven.destroyed.err
    assert said.count("aws kms cancel-key-deletion --region eu-central-1 --key-id arn:aws:kms:") == 2
    assert "--source-db-snapshot-identifier clinic-final-" in said
    assert {line.split()[0] for line in restored.left} == {"aws_db_snapshot"}
