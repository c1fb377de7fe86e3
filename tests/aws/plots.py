"""The deployments that the tests bring to life, and what a person has in the account beforehand."""

from __future__ import annotations

import secrets as tokens
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aws.emulator import ACCOUNT, REGION, Emulator
from aws.lifecycle import Json, Plot
from orthweb.pki.issue import certificate_pem, key_pem, new_authority

CLINIC = "203.0.113.0/24"
SCANNERS = "198.51.100.0/24"
OFFICE = "192.0.2.0/28"
BRANCH = "203.0.112.0/24"
"""Who may reach what (RFC 5737's addresses but the last): browsers, modalities, SSH, and who comes later."""

HA_REGION = "eu-central-1"
REPLICA = "hospital-images-elsewhere"
HOSTNAME = "pacs.clinic.example"
PUBLIC_KEY = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def canaries() -> Json:
    """Give an admin password, a certificate and its key that nothing else in the world looks like."""
    authority = new_authority("canary", datetime.now(UTC))
    return {
        "admin_password": f"canary-{tokens.token_hex(16)}",
        "tls_certificate": certificate_pem(authority.chain).decode(),
        "tls_key": key_pem(authority.key).decode(),
    }


def stranger() -> Plot:
    """Give what somebody gets who does what the configuration's README says, and nothing else."""
    return Plot("stranger", {}, readme=True, region=HA_REGION)


def single() -> Plot:
    """Give one host in production, with own secrets; then another size and version, one more range, no production."""
    return Plot(
        "single",
        {
            "name": "clinic",
            "https_cidr_blocks": [CLINIC],
            "dicom_cidr_blocks": [SCANNERS],
            "cli_cidr_block": OFFICE,
            "pubkey_data": PUBLIC_KEY,
            "image_tag": "1.0.0",
            "given_secrets": ["admin", "certificate"],
            "production": True,
        },
        {
            "instance_type": "t3.xlarge",
            "image_tag": "1.1.0",
            "https_cidr_blocks": [CLINIC, BRANCH],
            "production": False,
        },
        secrets=canaries(),
    )


def ha() -> Plot:
    """Give hosts in three zones with everything on but what takes Terraform's provider minutes of waiting (the VPN)."""
    return Plot(
        "ha",
        {
            "name": "hospital",
            "topology": "ha",
            "https_cidr_blocks": [CLINIC],
            "dicom_cidr_blocks": [SCANNERS],
            "zone_count": 3,
            "nat": "per_zone",
            "interface_endpoints": True,
            "host_count": 2,
            "image_tag": "1.0.0",
            "modality_endpoints": [
                {"name": "CT1", "cidr": "192.0.2.20/32", "port": 104},
                {"name": "MR1", "cidr": "192.0.2.20/32", "port": 104},
            ],
            "backup": True,
            "audit": True,
            "object_lock_days": 30,
            "alarm_email": "on-call@clinic.example",
            "hostname": HOSTNAME,
            "tags": {"CostCentre": "radiology"},
        },
        {"instance_type": "m6i.large", "image_tag": "1.1.0", "dicom_cidr_blocks": [SCANNERS, BRANCH]},
        region=HA_REGION,
        prepare=beforehand,
        use=store,
    )


def beforehand(aws: Emulator) -> Json:
    """Make a hosted zone and a bucket in another region, which a person has before the site; give their variables."""
    zone = aws.client("route53").create_hosted_zone(Name="clinic.example", CallerReference=tokens.token_hex(4))
    s3 = aws.client("s3", REGION)
    s3.create_bucket(Bucket=REPLICA)
    s3.put_bucket_versioning(Bucket=REPLICA, VersioningConfiguration={"Status": "Enabled"})
    return {
        "hosted_zone_id": zone["HostedZone"]["Id"].removeprefix("/hostedzone/"),
        "replica_bucket_arn": f"arn:aws:s3:::{REPLICA}",
        "replica_key_arn": aws.client("kms", REGION).create_key()["KeyMetadata"]["Arn"],
    }


def store(aws: Emulator, there: set[str]) -> None:
    """Put an image into the site's bucket, as its archive does; the lock is on it."""
    (bucket,) = [line.split()[1] for line in there if line.startswith("aws_s3_bucket hospital-images-1")]
    aws.client("s3", HA_REGION).put_object(Bucket=bucket, Key="00000000-0000-4000-8000-000000000000.dcm", Body=b"DICM")


def vpn() -> Json:
    """Give the variables of a client VPN. (The certificates are looked at by AWS alone.)"""
    certificate = f"arn:aws:acm:{HA_REGION}:{ACCOUNT}:certificate"
    return {
        "vpn_server_certificate_arn": f"{certificate}/11111111-1111-4111-8111-111111111111",
        "vpn_client_ca_arn": f"{certificate}/22222222-2222-4222-8222-222222222222",
        "vpn_cidr_block": "10.84.0.0/22",
    }
