"""What an interrupted call made and no state lists: found in the account by name and tag, and taken into the state.

Terraform notes a resource once AWS has answered that it is made. A machine that loses its power in these minutes leaves
a database of which nobody knows; made again, its name is taken, and made under another name it would be there twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from orthweb.aws.errors import AwsError, told
from orthweb.aws.session import Session
from orthweb.targets.aws import power

TAG: Final = "orthweb:site"


@dataclass(frozen=True)
class Lost:
    """A resource that is in the account and in no state.

    Parameters
    ----------
    identity : by which Terraform imports it.
    """

    address: str
    type: str
    identity: str


_Values = Mapping[str, Any]
_Finder = Callable[["_Account", _Values], str | None]


def lost(session: Session, name: str, plan: Mapping[str, Any]) -> Iterator[Lost]:
    """Look for what a plan would make, and is there already and is this site's.

    The tag says the site's name alone, and somebody else may have a site of the same name in this account, with a
    state of its own. So: where there is another network of that name, only what lies in this site's network is its
    own; and where this site has none yet, nothing is when there is a database of that name.

    Parameters
    ----------
    plan : as JSON.

    Raises
    ------
    AwsError : AWS does not say which networks there are.
    """
    creates = [
        each
        for each in plan.get("resource_changes", ())
        if each["type"] in _FINDERS and each["change"]["actions"] == ["create"] and each.get("mode") == "managed"
    ]
    if not creates:
        return
    account = _Account(session, name, frozenset(_known(plan)))
    alone = _alone(account)
    for each in creates:
        if alone or each["type"] in _INSIDE:
            identity = account.ask(each["type"], each["change"]["after"] or {})
            if identity is not None:
                yield Lost(each["address"], each["type"], identity)


def _alone(account: _Account) -> bool:
    """Tell whether everything that has the tag is this site's."""
    filters = [{"Name": f"tag:{TAG}", "Values": [account.name]}]
    with told("networks of the site"):
        found = {each["VpcId"] for each in account.client("ec2").describe_vpcs(Filters=filters)["Vpcs"]}
    ours = account.networks
    if found & ours:
        return found <= ours
    return len(found) <= 1 and power.database(account.session, power.index_of(account.name)) is None


def _known(plan: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give type and id of what is in the state."""
    modules = [((plan.get("prior_state") or {}).get("values") or {}).get("root_module") or {}]
    while modules:
        module = modules.pop()
        modules += module.get("child_modules", ())
        for each in module.get("resources", ()):
            if each.get("mode") == "managed":
                yield str(each["type"]), str((each.get("values") or {}).get("id") or "")


@dataclass(frozen=True)
class _Account:
    """The account, asked for things of one site.

    Parameters
    ----------
    known : type and id of what the state has.
    """

    session: Session
    name: str
    known: frozenset[tuple[str, str]]

    def ask(self, type_: str, values: _Values) -> str | None:
        try:
            with told("the site's resources"):
                found = _FINDERS[type_](self, values)
        except AwsError:
            return None  # it is not there; or it cannot be seen, and making it will tell
        except (KeyError, IndexError, ValueError):
            return None
        return None if (type_, found) in self.known else found

    @property
    def networks(self) -> set[str]:
        return {identity for type_, identity in self.known if type_ == "aws_vpc"}

    def client(self, service: str) -> Any:
        return self.session.client(service)

    def ours(self, tags: Iterable[Mapping[str, Any]], key: str = "Key", value: str = "Value") -> bool:
        return any(tag[key] == TAG and tag[value] == self.name for tag in tags)

    def one(self, found: Sequence[Mapping[str, Any]], key: str) -> str | None:
        """Give the id of the only one that the state does not have."""
        known = {identity for _, identity in self.known}
        new = [str(each[key]) for each in found if str(each[key]) not in known]
        return new[0] if len(new) == 1 else None


def _database(account: _Account, values: _Values) -> str | None:
    name = str(values["identifier"])
    found = account.client("rds").describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]
    if found["DBInstanceStatus"] == "deleting" or found["DBSubnetGroup"]["VpcId"] not in account.networks:
        return None
    return name if account.ours(found.get("TagList", ())) else None


def _database_subnets(account: _Account, values: _Values) -> str | None:
    rds, name = account.client("rds"), str(values["name"])
    found = rds.describe_db_subnet_groups(DBSubnetGroupName=name)["DBSubnetGroups"][0]
    ours = account.ours(rds.list_tags_for_resource(ResourceName=found["DBSubnetGroupArn"])["TagList"])
    return name if ours and found["VpcId"] in account.networks else None


def _database_settings(account: _Account, values: _Values) -> str | None:
    rds, name = account.client("rds"), str(values["name"])
    found = rds.describe_db_parameter_groups(DBParameterGroupName=name)["DBParameterGroups"][0]
    ours = account.ours(rds.list_tags_for_resource(ResourceName=found["DBParameterGroupArn"])["TagList"])
    return name if ours else None


def _role(account: _Account, values: _Values) -> str | None:
    found = account.client("iam").get_role(RoleName=values["name"])["Role"]
    return str(values["name"]) if account.ours(found.get("Tags", ())) else None


def _profile(account: _Account, values: _Values) -> str | None:
    found = account.client("iam").get_instance_profile(InstanceProfileName=values["name"])["InstanceProfile"]
    return str(values["name"]) if account.ours(found.get("Tags", ())) else None


def _log_group(account: _Account, values: _Values) -> str | None:
    logs, name = account.client("logs"), str(values["name"])
    groups = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
    [arn] = [str(each["arn"]).removesuffix(":*") for each in groups if each["logGroupName"] == name] or [""]
    return name if arn and logs.list_tags_for_resource(resourceArn=arn)["tags"].get(TAG) == account.name else None


def _secret(account: _Account, values: _Values) -> str | None:
    found = account.client("secretsmanager").describe_secret(SecretId=values["name"])
    return str(found["ARN"]) if account.ours(found.get("Tags", ())) and "DeletedDate" not in found else None


def _parameter(account: _Account, values: _Values) -> str | None:
    name = str(values["name"])
    found = account.client("ssm").list_tags_for_resource(ResourceType="Parameter", ResourceId=name)
    return name if account.ours(found["TagList"]) else None


def _bucket(account: _Account, values: _Values) -> str | None:
    name = str(values["bucket"])
    return name if account.ours(account.client("s3").get_bucket_tagging(Bucket=name)["TagSet"]) else None


def _repository(account: _Account, values: _Values) -> str | None:
    ecr, name = account.client("ecr"), str(values["name"])
    [found] = ecr.describe_repositories(repositoryNames=[name])["repositories"]
    return name if account.ours(ecr.list_tags_for_resource(resourceArn=found["repositoryArn"])["tags"]) else None


def _key(account: _Account, values: _Values) -> str | None:
    kms = account.client("kms")
    found = []
    for page in kms.get_paginator("list_keys").paginate():
        for each in page["Keys"]:
            about = kms.describe_key(KeyId=each["KeyId"])["KeyMetadata"]
            if about["KeyManager"] == "CUSTOMER" and about["Enabled"] and about["Description"] == values["description"]:
                tags = kms.list_resource_tags(KeyId=each["KeyId"])["Tags"]
                found += [each] if account.ours(tags, "TagKey", "TagValue") else []
    return account.one(found, "KeyId")


def _key_name(account: _Account, values: _Values) -> str | None:
    kms, name = account.client("kms"), str(values["name"])
    for page in kms.get_paginator("list_aliases").paginate():
        for each in page["Aliases"]:
            if each["AliasName"] == name and "TargetKeyId" in each:
                tags = kms.list_resource_tags(KeyId=each["TargetKeyId"])["Tags"]
                return name if account.ours(tags, "TagKey", "TagValue") else None
    return None


def _in_ec2(operation: str, key: str, identity: str) -> _Finder:
    """Find by the tag Name."""

    def find(account: _Account, values: _Values) -> str | None:
        wanted = {f"tag:{TAG}": account.name, "tag:Name": values["tags"]["Name"]}
        filters = [{"Name": name, "Values": [which]} for name, which in wanted.items()]
        return account.one(getattr(account.client("ec2"), operation)(Filters=filters)[key], identity)

    return find


def _instance(account: _Account, values: _Values) -> str | None:
    filters = [
        {"Name": f"tag:{TAG}", "Values": [account.name]},
        {"Name": "tag:Name", "Values": [values["tags"]["Name"]]},
        {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]},
    ]
    found = account.client("ec2").describe_instances(Filters=filters)["Reservations"]
    instances = [each for reservation in found for each in reservation["Instances"]]
    groups = "aws:autoscaling:groupName"  # those of topology ha have the same name
    return account.one([each for each in instances if all(tag["Key"] != groups for tag in each["Tags"])], "InstanceId")


def _interface(account: _Account, values: _Values) -> str | None:
    filters = [
        {"Name": f"tag:{TAG}", "Values": [account.name]},
        {"Name": "description", "Values": [values["description"]]},
    ]
    found = account.client("ec2").describe_network_interfaces(Filters=filters)["NetworkInterfaces"]
    return account.one(found, "NetworkInterfaceId")


def _gateway(account: _Account, values: _Values) -> str | None:
    filters = [
        {"Name": f"tag:{TAG}", "Values": [account.name]},
        {"Name": "tag:Name", "Values": [values["tags"]["Name"]]},
        {"Name": "state", "Values": ["pending", "available"]},
    ]
    found = account.client("ec2").describe_nat_gateways(Filter=filters)["NatGateways"]
    return account.one(found, "NatGatewayId")


def _endpoint(account: _Account, values: _Values) -> str | None:
    filters = [
        {"Name": f"tag:{TAG}", "Values": [account.name]},
        {"Name": "tag:Name", "Values": [values["tags"]["Name"]]},
    ]
    found = account.client("ec2").describe_vpc_endpoints(Filters=filters)["VpcEndpoints"]
    there = [each for each in found if str(each["State"]).lower() in ("pending", "available")]
    return account.one(there, "VpcEndpointId")


def _group(account: _Account, values: _Values) -> str | None:
    name = str(values["name"])
    client = account.client("autoscaling")
    found = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"][0]
    return name if account.ours(found["Tags"]) and "Status" not in found else None


def _balancer(account: _Account, values: _Values) -> str | None:
    found = account.client("elbv2").describe_load_balancers(Names=[values["name"]])["LoadBalancers"][0]
    return _balanced(account, str(found["LoadBalancerArn"]))


def _targets(account: _Account, values: _Values) -> str | None:
    found = account.client("elbv2").describe_target_groups(Names=[values["name"]])["TargetGroups"][0]
    return _balanced(account, str(found["TargetGroupArn"]))


def _balanced(account: _Account, arn: str) -> str | None:
    [found] = account.client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"]
    return arn if account.ours(found["Tags"]) else None


def _template(account: _Account, values: _Values) -> str | None:
    [found] = account.client("ec2").describe_launch_templates(LaunchTemplateNames=[values["name"]])["LaunchTemplates"]
    return str(found["LaunchTemplateId"]) if account.ours(found.get("Tags", ())) else None


def _ssh_key(account: _Account, values: _Values) -> str | None:
    [found] = account.client("ec2").describe_key_pairs(KeyNames=[values["key_name"]])["KeyPairs"]
    return str(values["key_name"]) if account.ours(found.get("Tags", ())) else None


_FINDERS: Final[Mapping[str, _Finder]] = {
    "aws_autoscaling_group": _group,
    "aws_cloudwatch_log_group": _log_group,
    "aws_db_instance": _database,
    "aws_db_parameter_group": _database_settings,
    "aws_db_subnet_group": _database_subnets,
    "aws_ecr_repository": _repository,
    "aws_eip": _in_ec2("describe_addresses", "Addresses", "AllocationId"),
    "aws_iam_instance_profile": _profile,
    "aws_iam_role": _role,
    "aws_instance": _instance,
    "aws_internet_gateway": _in_ec2("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    "aws_key_pair": _ssh_key,
    "aws_kms_alias": _key_name,
    "aws_kms_key": _key,
    "aws_launch_template": _template,
    "aws_lb": _balancer,
    "aws_lb_target_group": _targets,
    "aws_nat_gateway": _gateway,
    "aws_network_acl": _in_ec2("describe_network_acls", "NetworkAcls", "NetworkAclId"),
    "aws_network_interface": _interface,
    "aws_route_table": _in_ec2("describe_route_tables", "RouteTables", "RouteTableId"),
    "aws_s3_bucket": _bucket,
    "aws_secretsmanager_secret": _secret,
    "aws_security_group": _in_ec2("describe_security_groups", "SecurityGroups", "GroupId"),
    "aws_ssm_parameter": _parameter,
    "aws_subnet": _in_ec2("describe_subnets", "Subnets", "SubnetId"),
    "aws_vpc_endpoint": _endpoint,
    "aws_vpc": _in_ec2("describe_vpcs", "Vpcs", "VpcId"),
}
"""How each type is found. What else there is goes with one of these, or is put again under its name without harm."""

_INSIDE: Final = frozenset({"aws_db_instance", "aws_db_subnet_group"})
"""What is found by the network that it lies in."""
