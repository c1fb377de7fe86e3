"""What is around the hosts of a site on AWS: the account, the network, a database, a bucket, a registry.

Everything has the name that it has on AWS. A host is given its user data, the role's credentials, the CA that AWS's
names have here, and nothing else of a test's own: it boots, asks the metadata service who it is, and finds the rest.
"""

from __future__ import annotations

import base64
import configparser
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aws.emulator import ACCOUNT, Emulator, emulator
from host.front import Front, front
from host.machine import Machine
from host.network import Network, network
from live.postgresql_server import MASTER, PostgresqlServer, postgresql_server
from live.s3_server import REGION, S3Server, s3_server
from orthweb.render.user_data import user_data
from orthweb.tomltext import toml

ROLES = ("archive", "edge", "ops")
SECRETS = ("admin", "certificate", "index", "site", "tls")
TRUSTED = "/etc/ssl/certs/ca-certificates.crt"

Json = dict[str, Any]


@dataclass
class World:
    """The account of one site, and its network.

    Parameters
    ----------
    name : the site's.
    hostname : name of the site on the network.
    image : root file system that hosts start with.
    """

    name: str
    hostname: str
    topology: str
    folder: Path
    image: Path
    network: Network
    aws: Emulator
    s3: S3Server
    database: PostgresqlServer
    front: Front
    tag: str = "1.0.0"
    site: Json = field(default_factory=dict)
    hosts: list[Machine] = field(default_factory=list)

    @property
    def prefix(self) -> str:
        """What the names of parameters begin with."""
        return f"/orthweb/{self.name}"

    @property
    def log_groups(self) -> dict[str, str]:
        """Names of the log groups."""
        return {each: f"{self.prefix}/{each}" for each in ("containers", "host")}

    def client(self, service: str) -> Any:
        """Give a client of the account."""
        return self.aws.client(service, REGION)

    def reference(self, role: str, tag: str | None = None) -> str:
        """Give the name of an image in the account's registry."""
        return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{self.name}/{role}:{tag or self.tag}"

    def pushed(self, role: str, tag: str | None = None) -> str:
        """Give the name that this machine's engine pushes it by."""
        return f"{self.front.registry}/{self.name}/{role}:{tag or self.tag}"

    # --- what Terraform makes in the account ---

    def parameter(self, name: str, value: str) -> None:
        """Put a parameter."""
        self.client("ssm").put_parameter(Name=f"{self.prefix}/{name}", Value=value, Type="String", Overwrite=True)

    def deployment(self) -> Json:
        """Give what the parameter of that name holds (terraform/modules/compute/parameters.tf)."""
        ha = self.topology == "ha"
        return {
            "account": ACCOUNT,
            "autoscaling_group": self.name if ha else None,
            "bucket": self.s3.bucket,
            "database_identifier": f"{self.name}-index",
            "kms_key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/6f1e0bd6-55c9-4c1c-8a2a-0d9f5a4a7b10",
            "lifecycle_hook": f"{self.name}-ready" if ha else None,
            "log_groups": self.log_groups,
            "name": self.name,
            "ports": {"https": 443, "dicom": 11112, "health": 443},
            "public_name": self.hostname,
            "rds_ca": "rds-ca.pem",
            "region": REGION,
            "rotation_days": 30,
            "secrets": {each: f"orthweb/{self.name}/{each}" for each in SECRETS},
            "store": "s3",
            "topology": self.topology,
        }

    def write_deployment(self) -> None:
        """Put what Terraform says of the account, as it is now."""
        if self.topology == "ha":
            self._make_group()
        self.parameter("deployment", json.dumps(self.deployment()))

    def _make_group(self) -> None:
        scaling = self.client("autoscaling")
        image, kind = "ami-0deb1a13a0d640002", "t3.large"
        scaling.create_launch_configuration(LaunchConfigurationName=self.name, ImageId=image, InstanceType=kind)
        zones = [f"{REGION}a", f"{REGION}b"]
        scaling.create_auto_scaling_group(
            AutoScalingGroupName=self.name, LaunchConfigurationName=self.name, MinSize=0, MaxSize=4,
            AvailabilityZones=zones,
        )  # fmt: skip
        scaling.put_lifecycle_hook(
            AutoScalingGroupName=self.name,
            LifecycleHookName=f"{self.name}-ready",
            LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING",
        )

    def write_site(self, **tables: Json) -> None:
        """Put the site file: what tests need of it, and these tables."""
        for key, table in tables.items():
            self.site[key] = self.site.get(key, {}) | table
        lines = []
        for key, table in self.site.items():
            lines += [f"[{key}]", *(f"{word} = {toml(value)}" for word, value in table.items())]
        self.parameter("site", "\n".join(lines) + "\n")

    def write_images(self, tag: str) -> None:
        """Say which images the hosts run."""
        self.tag = tag
        self.parameter("images", json.dumps({role: self.reference(role) for role in ROLES}))

    def make(self) -> None:
        """Make what Terraform makes, but the database."""
        self.write_deployment()
        self.parameter("files/rds-ca.pem", self.database.ca.read_text())
        self.write_site(dicom={"aet": "ORTHANC"})
        self.write_images(self.tag)
        for each in SECRETS:
            self.client("secretsmanager").create_secret(Name=f"orthweb/{self.name}/{each}")
        for group in self.log_groups.values():
            self.client("logs").create_log_group(logGroupName=group)

    def make_database(self) -> None:
        """Let RDS have the database; its master has the password that RDS chose."""
        identifier = f"{self.name}-index"
        made = self.client("rds").create_db_instance(
            DBInstanceIdentifier=identifier,
            DBInstanceClass="db.t4g.medium",
            Engine="postgres",
            AllocatedStorage=50,
            DBName="orthanc",
            MasterUsername=MASTER,
            ManageMasterUserPassword=True,
        )
        secret = made["DBInstance"]["MasterUserSecret"]["SecretArn"]
        found = json.loads(self.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"])
        self.database.as_owner("CREATE DATABASE orthanc OWNER orthweb_master")
        self.database.set_master_password(found["password"])
        self.aws.database(identifier, address=self.database.host, port=self.database.port, status="available")

    # --- hosts ---

    def credentials(self) -> dict[str, str]:
        """Give the credentials that the role has now."""
        parser = configparser.ConfigParser()
        parser.read(self.s3.credentials)
        keys = {"AccessKeyId": "access_key_id", "SecretAccessKey": "secret_access_key", "Token": "session_token"}
        return {key: parser["default"][f"aws_{name}"] for key, name in keys.items()}

    def host(self, number: int, *, hop_limit: int = 2) -> Machine:
        """Make a host, which is off."""
        address = self.network.address(number)
        identity = f"i-{secrets.token_hex(8)}1"
        zone = f"{REGION}{'ab'[number % 2]}"
        label = f"{self.network.label}-{number}"
        machine = Machine(label, self.folder / identity, self.image, self.network, address, identity)
        name = f"ip-{address.replace('.', '-')}.{REGION}.compute.internal"
        mac = self.network.hardware(address)
        instance = {
            "account": ACCOUNT,
            "hop_limit": hop_limit,
            "role": f"{self.name}-host",
            "credentials": self.credentials(),
            "user-data": user_data(self.name, REGION, self.prefix, self.reference("ops")),
            "meta-data": {
                "ami-id": "ami-0deb1a13a0d640002",
                "hostname": name,
                "instance-id": identity,
                "instance-type": "t3.large",
                "local-hostname": name,
                "local-ipv4": address,
                "mac": mac,
                "network": {"interfaces": {"macs": {mac: {"device-number": "0", "local-ipv4s": address}}}},
                "placement": {"availability-zone": zone, "region": REGION},
            },
        }
        (self.network.folder / "instances" / f"{address}.json").write_text(json.dumps(instance))
        machine.put(self._files(machine))
        self.hosts.append(machine)
        return machine

    def _files(self, machine: Machine) -> dict[str, bytes]:
        trusted = (self.image / TRUSTED.lstrip("/")).read_bytes()
        return {
            "/etc/resolv.conf": f"nameserver {self.network.here}\n".encode(),
            # The machine trusts AWS's names here as it does Amazon's CAs; what runs in containers is told by AWS's own
            # variable.
            TRUSTED: trusted + self.front.ca,
            "/usr/local/share/ca-certificates/aws.crt": self.front.ca,
            "/etc/orthweb/aws-ca.pem": self.front.ca,
            "/etc/orthweb/environment": b"AWS_CA_BUNDLE=/etc/orthweb/aws-ca.pem\n",
        }

    def status(self, machine: Machine) -> Json:
        """Give what a host says of itself; nothing before it has said anything."""
        ssm = self.client("ssm")
        try:
            found = ssm.get_parameter(Name=f"{self.prefix}/hosts/{machine.identity}")
        except ssm.exceptions.ParameterNotFound:
            return {}
        said: Json = json.loads(found["Parameter"]["Value"])
        return said

    def user_data(self, machine: Machine) -> str:
        """Give what the metadata service gives a host to run."""
        told = json.loads((self.network.folder / "instances" / f"{machine.address}.json").read_text())
        return str(told["user-data"])

    def parameters(self) -> dict[str, str]:
        """Give all parameters of the account."""
        pages = self.client("ssm").get_paginator("get_parameters_by_path").paginate(Path="/", Recursive=True)
        return {each["Name"]: each["Value"] for page in pages for each in page["Parameters"]}

    def log_events(self) -> dict[tuple[str, str], list[str]]:
        """Give what was written to the log groups, by group and stream."""
        logs, found = self.client("logs"), {}
        for group in self.log_groups.values():
            for stream in logs.describe_log_streams(logGroupName=group)["logStreams"]:
                where = {"logGroupName": group, "logStreamName": stream["logStreamName"]}
                events = logs.get_log_events(**where, limit=10000, startFromHead=True)["events"]
                found[group, stream["logStreamName"]] = [event["message"] for event in events]
        return found

    def put_secret(self, which: str, values: Json) -> None:
        """Give one of the site's secrets a new value."""
        self.client("secretsmanager").put_secret_value(
            SecretId=f"orthweb/{self.name}/{which}", SecretString=json.dumps(values)
        )

    def serves(self, machine: Machine, since: str) -> bool:
        """Tell whether a host has said that it serves, later than when it said something else."""
        said = self.status(machine)
        return bool(said["state"] == "ready" and said["at"] > since)

    def secret(self, which: str) -> Json:
        """Give the current value of one of the site's secrets."""
        found = self.client("secretsmanager").get_secret_value(SecretId=f"orthweb/{self.name}/{which}")
        values: Json = json.loads(found["SecretString"])
        return values


def ecr_password(aws: Emulator) -> str:
    """Give the password of ECR's logins."""
    token = aws.client("ecr", REGION).get_authorization_token()["authorizationData"][0]["authorizationToken"]
    return base64.b64decode(token).decode().partition(":")[2]


@contextmanager
def world(
    folder: Path, image: Path, programs: Mapping[str, Path], *, name: str = "pacs", topology: str = "single"
) -> Iterator[World]:
    """Make a world; every host in it is switched off and removed afterwards.

    Parameters
    ----------
    folder : on a file system that an overlay can lie on.
    image : root file system of the hosts.
    programs : dnsmasq, docker-registry and haproxy.
    """
    hostname = f"{name}.clinic.example"
    bucket = f"{name}-images-{ACCOUNT}-{REGION}"
    with ExitStack() as stack:
        net = stack.enter_context(network(folder / "network", programs["dnsmasq"]))
        aws = stack.enter_context(emulator(folder / "aws"))
        s3 = stack.enter_context(s3_server(folder, bucket=bucket, tls=False))
        endpoint = f"{name}-index.c1example.{REGION}.rds.amazonaws.com"
        net.name(endpoint, net.here)
        database = stack.enter_context(postgresql_server(host=endpoint, address=net.here, names=()))
        port = urlsplit(aws.url).port
        assert port is not None
        shown = stack.enter_context(
            front(
                folder / "front", net, programs, region=REGION, bucket=bucket, password=ecr_password(aws),
                emulator=port, images=s3.port,
            )
        )  # fmt: skip
        made = World(name, hostname, topology, folder, image, net, aws, s3, database, shown)
        stack.callback(_remove, made)
        made.make()
        yield made


def _remove(world: World) -> None:
    for machine in world.hosts:
        machine.remove()
