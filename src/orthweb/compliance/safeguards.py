"""The technical safeguards of 45 CFR 164.312, and what meets each of them on AWS.

Addresses are those of ``terraform/`` without indexes; checks are those of ``orthweb validate``. A test holds both
against what exists, so that a renamed resource or check cannot leave a claim behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True)
class Measure:
    """One thing that is done for a safeguard.

    Parameters
    ----------
    does : what it does, one sentence.
    evidence : how a person sees it: a command, a place.
    resources : Terraform addresses that do it.
    checks : ids of the checks that prove it.
    """

    does: str
    evidence: str
    resources: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Safeguard:
    """One standard or implementation specification.

    Parameters
    ----------
    paragraph : of 164.312.
    kind : standard; required or addressable for its implementation specifications (164.306(d)).
    remains : what is left to the organisation, or is not there; never empty.
    """

    paragraph: str
    title: str
    kind: Literal["standard", "required", "addressable"]
    measures: tuple[Measure, ...]
    remains: str


SAFEGUARDS: Final = (
    Safeguard(
        "(a)(1)",
        "Access control",
        "standard",
        (
            Measure(
                "Only the ranges that the owner names reach HTTPS and DICOM TLS; nobody reaches the index, and SSH is "
                "closed unless a range is named.",
                "Security groups `NAME-load-balancer`, `NAME-host`, `NAME-database` in the console",
                (
                    "module.security.aws_vpc_security_group_ingress_rule.client",
                    "module.security.aws_vpc_security_group_ingress_rule.database_from_host",
                    "module.security.aws_vpc_security_group_ingress_rule.ssh",
                    "module.network.aws_default_security_group.closed",
                    "module.network.aws_network_acl.isolated",
                ),
            ),
            Measure(
                "Without a login, with a wrong or a well-known one, no place answers with data.",
                "`orthweb validate --group web`",
                checks=("web.no_login", "web.wrong_password", "web.default_passwords", "web.closed", "web.origin"),
            ),
            Measure(
                "DICOM peers may do what the site file allows them; with client certificates required, no other peer "
                "gets an association.",
                "`orthweb validate --check dicom.client_certificates`; `[modalities]` of the site file",
                checks=("dicom.client_certificates", "dicom.plaintext"),
            ),
            Measure(
                "The bucket gives images to the archive's role alone, over TLS alone, and to nobody in public.",
                "Bucket policy of `NAME-images-...`; `orthweb validate --check store.strangers`",
                (
                    "module.storage.aws_s3_bucket_policy.images",
                    "module.storage.aws_s3_bucket_public_access_block.images",
                    "module.storage.aws_s3_bucket_ownership_controls.images",
                ),
                ("store.strangers",),
            ),
            Measure(
                "A host's role reaches its own site's secrets, parameters, bucket and database, and nothing else of "
                "the account.",
                "IAM role `NAME-host`",
                ("module.compute.aws_iam_role.host", "module.compute.aws_iam_role_policy.host"),
            ),
        ),
        "Who in the organisation gets access, and the review of it. The administrator's login may do everything: "
        "rights differ by DICOM peer, not yet by person.",
    ),
    Safeguard(
        "(a)(2)(i)",
        "Unique user identification",
        "required",
        (
            Measure(
                "Each DICOM peer can have a certificate of its own (`orthweb certificates client NAME`), which the "
                "edge logs with each association. It ends by itself; one cannot be revoked before the others.",
                "The log's field `certificate`; `orthweb logs edge-access`",
                checks=("dicom.client_certificates",),
            ),
            Measure(
                "Services have identities of their own: the archive's database user is not the master, hosts act under "
                "a role.",
                "`orthweb validate --check index.role` on the host; CloudTrail's `userIdentity`",
                ("module.compute.aws_iam_instance_profile.host",),
                ("index.role",),
            ),
        ),
        "**Persons are not told apart yet**: the web login is one account, `admin`. Until sign-in for each person is "
        "there, put a proxy with your identity provider before the site, or keep the login to one administrator and "
        "let people use viewers that sign in by themselves.",
    ),
    Safeguard(
        "(a)(2)(ii)",
        "Emergency access procedure",
        "required",
        (
            Measure(
                "Images can be read without the site: each is a plain DICOM file in the bucket, versions included.",
                "[aws.md](aws.md): restore from bucket versions",
                ("module.storage.aws_s3_bucket_versioning.images",),
            ),
            Measure(
                "The index goes back to any second of the last days, and stays as a snapshot after `destroy`.",
                "[aws.md](aws.md): restore from a snapshot or a point in time",
                ("module.database.aws_db_instance.this",),
            ),
            Measure(
                "With topology `ha` the loss of a host or a zone leaves the site at work.",
                "The target groups' healthy hosts; RDS: Multi-AZ",
                ("module.compute.aws_autoscaling_group.this", "module.compute.aws_lb.this"),
            ),
        ),
        "The procedure itself: who may do this, with which credentials, and an exercise of it. The bucket's policy "
        "keeps administrators out too: an emergency reader has to be named in it first.",
    ),
    Safeguard(
        "(a)(2)(iii)",
        "Automatic logoff",
        "addressable",
        (
            Measure(
                "Orthweb keeps no sessions: every request carries its login.",
                "The edge's only cookie names the process that keeps a job, and opens nothing",
                checks=("web.no_login",),
            ),
        ),
        "**Not met by Orthweb.** The browser remembers the login until it is closed. Locking of workstations, and a "
        "viewer or proxy with sessions that end, are the organisation's.",
    ),
    Safeguard(
        "(a)(2)(iv)",
        "Encryption and decryption",
        "addressable",
        (
            Measure(
                "Images, index, disks, secrets, container images and backups are encrypted with one customer-managed "
                "key, logs and notifications with another; both rotate every year.",
                "`aws kms get-key-rotation-status`; the properties of each resource",
                (
                    "module.keys.aws_kms_key.data",
                    "module.keys.aws_kms_key.logs",
                    "module.storage.aws_s3_bucket_server_side_encryption_configuration.images",
                    "module.database.aws_db_instance.this",
                    "module.compute.aws_launch_template.this",
                    "module.compute.aws_instance.this",
                    "module.secrets.aws_secretsmanager_secret.this",
                    "module.backup.aws_backup_vault.this",
                ),
            ),
            Measure(
                "An object is proved to be encrypted in the way that was asked for.",
                "`orthweb validate --check store.encryption`",
                checks=("store.encryption",),
            ),
        ),
        "The bucket of access logs is encrypted with S3's own key: AWS's log delivery knows no other. It holds names "
        "of objects, which are random, and no patient data.",
    ),
    Safeguard(
        "(b)",
        "Audit controls",
        "standard",
        (
            Measure(
                "The edge logs each request and association: when, from where, with which certificate or login, what "
                "path, with what result; no names, patient IDs or queries (paths have the UIDs of studies).",
                "Log group `/orthweb/NAME/containers`; `orthweb logs edge-access`",
                ("module.observability.aws_cloudwatch_log_group.this",),
                ("security.access_log", "security.logs"),
            ),
            Measure(
                "S3 logs each access to an object; with `aws.audit`, CloudTrail does so with the identity, in files "
                "whose integrity can be verified.",
                "Bucket `NAME-logs-...`; `aws cloudtrail validate-logs`",
                ("module.storage.aws_s3_bucket_logging.images", "module.audit.aws_cloudtrail.this"),
            ),
            Measure(
                "Connections in the network and to the index are logged.",
                "Log groups `/orthweb/NAME/vpc-flow` and `/aws/rds/instance/NAME-index/postgresql`",
                ("module.network.aws_flow_log.this", "module.database.aws_cloudwatch_log_group.this"),
            ),
            Measure(
                "Failed sign-ins, errors and silence raise alarms.",
                "CloudWatch alarms `NAME-...`; the topic `NAME-alarms`",
                (
                    "module.observability.aws_cloudwatch_metric_alarm.this",
                    "module.observability.aws_cloudwatch_log_metric_filter.this",
                    "module.observability.aws_sns_topic.alarms",
                ),
            ),
        ),
        "Looking at the logs, and keeping what has to be kept for six years (164.316(b)(2)): `aws.log_retention` is "
        "400 days by default. `aws.audit` is off by default. The log says which login, and all persons share one.",
    ),
    Safeguard(
        "(c)(1)",
        "Integrity",
        "standard",
        (
            Measure(
                "An overwritten or deleted object stays as an older version. In production the bucket's policy denies "
                "everybody to remove one, and `aws.object_lock_days` locks each for its time (governance mode).",
                "`aws s3api list-object-versions`; the bucket's policy",
                (
                    "module.storage.aws_s3_bucket_versioning.images",
                    "module.storage.aws_s3_bucket_object_lock_configuration.images",
                    "module.storage.aws_s3_bucket_policy.images",
                ),
            ),
            Measure(
                "Success is answered to a sender only when the file is in the bucket and the index's row committed.",
                "`orthweb validate --group dicom --group web`",
                checks=("dicom.store", "dicom.get", "web.stow", "web.wado_study"),
            ),
            Measure(
                "Backups of index and bucket; in production they cannot be removed early.",
                "AWS Backup: vault `NAME`",
                (
                    "module.backup.aws_backup_plan.images",
                    "module.backup.aws_backup_plan.index",
                    "module.backup.aws_backup_vault_lock_configuration.this",
                ),
            ),
            Measure(
                "Methods that change something are taken from the request line alone, and not from other origins.",
                "`orthweb validate --check web.method --check web.origin`",
                checks=("web.method", "web.origin"),
            ),
        ),
        "`aws.backup` and `aws.object_lock_days` are off by default. Whether a correction of data was right is for "
        "people.",
    ),
    Safeguard(
        "(c)(2)",
        "Mechanism to authenticate electronic protected health information",
        "addressable",
        (
            Measure(
                "The index keeps size and MD5 of each file; files can be compared with it at any time.",
                "`orthweb validate --check store.hash` on the host",
                checks=("store.hash", "store.file"),
            ),
            Measure(
                "Whoever receives an instance gets the data set that was sent.",
                "`orthweb validate --group dicom --group web`",
                checks=("dicom.get", "dicom.move", "web.wado_instance", "web.wado_frames"),
            ),
            Measure(
                "CloudTrail signs its files (`aws.audit`).",
                "`aws cloudtrail validate-logs`",
                ("module.audit.aws_cloudtrail.this",),
            ),
        ),
        "MD5 finds accidents. Against an attacker stand versions, locks and the trail. Digital signatures in DICOM "
        "files are kept, not verified.",
    ),
    Safeguard(
        "(d)",
        "Person or entity authentication",
        "standard",
        (
            Measure(
                "Clients verify the site: its certificate covers its name and verifies against the CA they are told.",
                "`orthweb validate --group tls`",
                checks=("tls.https_chain", "tls.https_names", "tls.dicom_chain", "tls.dicom_names", "web.wrong_ca"),
            ),
            Measure(
                'DICOM peers show a certificate (`tls.client_certificates = "required"`).',
                "`orthweb validate --check dicom.client_certificates`",
                checks=("dicom.client_certificates",),
            ),
            Measure(
                "Every inner hop verifies the next: archive, index (`verify-full`), AWS's own services. The archive's "
                "database password is changed every `aws.rotation_days`.",
                "`orthweb validate --group index` on the host; versions of the secret `orthweb/NAME/index`",
                ("module.secrets.aws_secretsmanager_secret.this",),
                ("index.tls", "index.password"),
            ),
            Measure(
                "Instance credentials are given out by IMDSv2 alone.",
                "`aws ec2 describe-instances`: `HttpTokens: required`",
                ("module.compute.aws_instance.this", "module.compute.aws_launch_template.this"),
            ),
        ),
        "Persons are authenticated by one shared password; multi-factor authentication, for the web and for the people "
        "who manage the AWS account, is not part of it.",
    ),
    Safeguard(
        "(e)(1)",
        "Transmission security",
        "standard",
        (
            Measure(
                "Nothing but TLS is answered, on either port; versions and suites are Mozilla's recommendation.",
                "`orthweb validate --group tls`",
                checks=(
                    "web.plaintext",
                    "dicom.plaintext",
                    "tls.https_profile",
                    "tls.dicom_profile",
                    "tls.https_versions",
                    "tls.dicom_versions",
                ),
            ),
            Measure(
                "The load balancer passes TCP through: TLS ends on the hosts, and AWS does not see what is sent.",
                "Listeners of `NAME`: TCP",
                ("module.compute.aws_lb_listener.this",),
            ),
            Measure(
                "The index accepts TLS alone, the bucket TLS 1.2 or later alone, and images reach it without the "
                "Internet.",
                "`rds.force_ssl`; the bucket's policy; the gateway endpoint",
                (
                    "module.database.aws_db_parameter_group.this",
                    "module.storage.aws_s3_bucket_policy.images",
                    "module.network.aws_vpc_endpoint.s3",
                ),
                ("index.plaintext", "index.archive_tls"),
            ),
        ),
        "Modalities that cannot speak TLS need something beside them that does it for them ([aws.md](aws.md)): the "
        "site answers nothing else, through the client VPN neither. A modality with `tls = false` in the site "
        "file is sent to in clear.",
    ),
    Safeguard(
        "(e)(2)(i)",
        "Integrity controls",
        "addressable",
        (
            Measure(
                "TLS authenticates every record; what arrives is compared with what was sent.",
                "`orthweb validate`: the test patient's instances come back with the same data set",
                checks=("dicom.get", "web.wado_study", "tls.https_keys", "tls.dicom_keys"),
            ),
        ),
        "What happens before the sender's TLS and after the receiver's.",
    ),
    Safeguard(
        "(e)(2)(ii)",
        "Encryption",
        "addressable",
        (
            Measure(
                "As under (e)(1): there is no way in or out of the site without TLS, but to modalities that the site "
                "file says are without.",
                "`orthweb validate --check web.plaintext --check dicom.plaintext`",
                checks=("web.plaintext", "dicom.plaintext"),
            ),
            Measure(
                "Secrets never travel in user data, Terraform's state or the environment: hosts fetch them over TLS.",
                "`terraform show`; the instance's user data",
                ("module.secrets.aws_secretsmanager_secret.this", "module.compute.aws_ssm_parameter.this"),
            ),
        ),
        "Exports: what a person downloads from the site is where he puts it.",
    ),
)
"""All of 164.312, in its order."""
