"""Read today's prices from AWS's price list, without credentials.

The files of the AWS Price List Bulk API are public: one a service and region, as JSON and as CSV. EC2's has hundreds
of megabytes, so the CSV is read line by line while it comes.

https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-the-aws-price-list-bulk-api-fetching-price-list-files-manually.html
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from orthweb.cost.prices import Price
from orthweb.errors import OrthwebError

if TYPE_CHECKING:
    import httpx

SERVER: Final = "https://pricing.us-east-1.amazonaws.com"
"""Where all regions' price lists are."""

Row = Mapping[str, str]


@dataclass(frozen=True)
class Product:
    """How an item of ours is found in a service's price list.

    Parameters
    ----------
    item : our name of it.
    offer : the service's code.
    usage : the usage type, without the region's prefix (``EUC1-``).
    unit : our unit.
    factor : how many of the list's units ours has.
    where : further columns and the values they must have.
    """

    item: str
    offer: str
    usage: str
    unit: str
    factor: float = 1.0
    where: Mapping[str, str] = field(default_factory=dict)

    def matches(self, row: Row) -> bool:
        """Tell whether a row of the list is a price of this product."""
        usage = row.get("usageType", "")
        return (usage == self.usage or usage.endswith(f"-{self.usage}")) and all(
            row.get(column, "") == value for column, value in self.where.items()
        )


_NETWORK = {"Product Family": "Load Balancer-Network"}
_TO_INTERNET = {"Transfer Type": "AWS Outbound", "To Location": "External"}

PRODUCTS: Final = (
    Product("ebs/gp3", "AmazonEC2", "EBS:VolumeUsage.gp3", "GB-month"),
    Product("ebs/snapshot", "AmazonEC2", "EBS:SnapshotUsage", "GB-month"),
    Product("nat/hour", "AmazonEC2", "NatGateway-Hours", "hour"),
    Product("nat/data", "AmazonEC2", "NatGateway-Bytes", "GB"),
    Product("ipv4/hour", "AmazonVPC", "PublicIPv4:InUseAddress", "hour"),
    Product("endpoint/hour", "AmazonVPC", "VpcEndpoint-Hours", "hour"),
    Product("endpoint/data", "AmazonVPC", "VpcEndpoint-Bytes", "GB"),
    Product("vpn/association", "AmazonVPC", "ClientVPN-EndpointHours", "hour"),
    Product("vpn/connection", "AmazonVPC", "ClientVPN-ConnectionHours", "hour"),
    Product("nlb/hour", "AWSELB", "LoadBalancerUsage", "hour", where=_NETWORK),
    Product("nlb/lcu", "AWSELB", "LCUUsage", "LCU-hour", where=_NETWORK),
    Product("rds-storage/gp3/single", "AmazonRDS", "RDS:GP3-Storage", "GB-month", where={"Database Engine": "Any"}),
    Product(
        "rds-storage/gp3/multi", "AmazonRDS", "RDS:Multi-AZ-GP3-Storage", "GB-month", where={"Database Engine": "Any"}
    ),
    Product("rds-backup", "AmazonRDS", "RDS:ChargedBackupUsage", "GB-month", where={"Database Engine": "PostgreSQL"}),
    Product("s3/standard", "AmazonS3", "TimedStorage-ByteHrs", "GB-month"),
    Product("s3/intelligent/frequent", "AmazonS3", "TimedStorage-INT-FA-ByteHrs", "GB-month"),
    Product("s3/intelligent/infrequent", "AmazonS3", "TimedStorage-INT-IA-ByteHrs", "GB-month"),
    Product("s3/intelligent/archive-instant", "AmazonS3", "TimedStorage-INT-AIA-ByteHrs", "GB-month"),
    Product("s3/intelligent/monitoring", "AmazonS3", "Monitoring-Automation-INT", "1000 objects-month", 1e3),
    Product("s3/requests/write", "AmazonS3", "Requests-Tier1", "1000 requests", 1e3),
    Product("s3/requests/read", "AmazonS3", "Requests-Tier2", "1000 requests", 1e3),
    Product("s3/requests/transition", "AmazonS3", "Requests-Tier4", "1000 requests", 1e3, {"operation": ""}),
    Product("kms/key", "awskms", "KMS-Keys", "month"),
    Product("kms/requests", "awskms", "KMS-Requests", "10000 requests", 1e4),
    Product("secrets/secret", "AWSSecretsManager", "AWSSecretsManager-Secrets", "month"),
    Product("secrets/requests", "AWSSecretsManager", "AWSSecretsManagerAPIRequest", "10000 requests", 1e4),
    Product("ssm/advanced-parameter", "AWSSystemsManager", "PS-Advanced-Param-Tier1", "month"),
    Product("logs/ingestion", "AmazonCloudWatch", "DataProcessing-Bytes", "GB"),
    Product("logs/storage", "AmazonCloudWatch", "TimedStorage-ByteHrs", "GB-month"),
    Product("cloudwatch/alarm", "AmazonCloudWatch", "CW:AlarmMonitorUsage", "month", where={"Alarm Type": "Standard"}),
    Product("cloudwatch/metric", "AmazonCloudWatch", "CW:MetricMonitorUsage", "month"),
    Product("cloudwatch/dashboard", "AmazonCloudWatch", "DashboardsUsageHour", "month"),
    Product("ecr/storage", "AmazonECR", "TimedStorage-ByteHrs", "GB-month"),
    Product("cloudtrail/data-events", "AWSCloudTrail", "DataEventsRecorded", "100000 events", 1e5),
    Product("backup/s3", "AWSBackup", "WarmStorage-ByteHrs-S3", "GB-month"),
    Product("transfer/internet", "AWSDataTransfer", "DataTransfer-Out-Bytes", "GB", where=_TO_INTERNET),
    Product("transfer/zones", "AWSDataTransfer", "DataTransfer-Regional-Bytes", "GB"),
)
"""What is looked for, beside the instances, whose kinds come from the table of prices."""

_LINUX = {
    "Tenancy": "Shared",
    "Operating System": "Linux",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
    "License Model": "No License required",
}


def products(items: Iterable[str]) -> tuple[Product, ...]:
    """Say how to find the items that a table of prices has; what AWS's list cannot give is left out."""
    known = {product.item: product for product in PRODUCTS}
    found = []
    for item in items:
        if item in known:
            found.append(known[item])
        elif machine := re.fullmatch(r"ec2/(.+)", item):
            found.append(Product(item, "AmazonEC2", f"BoxUsage:{machine[1]}", "hour", where=_LINUX))
        elif database := re.fullmatch(r"rds/(db\..+)/(single|multi)", item):
            usage, zones = ("InstanceUsage", "Single-AZ") if database[2] == "single" else ("Multi-AZUsage", "Multi-AZ")
            where = {"Database Engine": "PostgreSQL", "Deployment Option": zones}
            found.append(Product(item, "AmazonRDS", f"{usage}:{database[1]}", "hour", where=where))
    return tuple(found)


@dataclass(frozen=True)
class Refreshed:
    """What a price list gave.

    Parameters
    ----------
    missing : items that it does not name, or whose price it gives in two ways: their old prices stay.
    """

    prices: tuple[Price, ...]
    missing: tuple[str, ...]


def refresh(
    items: Iterable[str], region: str, client: httpx.Client, report: Callable[[str], None], server: str = SERVER
) -> Refreshed:
    """Read the prices of items in a region.

    Parameters
    ----------
    report : told which service's list is being read.
    server : where the lists are; tests have their own.

    Raises
    ------
    OrthwebError : AWS cannot be reached, or does not have a list for the region.
    """
    wanted = products(items)
    prices: list[Price] = []
    for offer in sorted({product.offer for product in wanted}):
        report(f"{offer}: reading the price list of {region}")
        sought = [product for product in wanted if product.offer == offer]
        with _lines(client, f"{server}/offers/v1.0/aws/{offer}/current/{region}/index.csv") as lines:
            prices += extract(lines, sought, region)
    found = {price.item for price in prices}
    return Refreshed(tuple(prices), tuple(sorted({product.item for product in wanted} - found)))


class _lines:  # noqa: N801  a context manager
    """The lines of a file on a server, as they come; its errors are told as what a person can do about them."""

    def __init__(self, client: httpx.Client, url: str) -> None:
        self.client, self.url = client, url
        self.stream = client.stream("GET", url)

    def __enter__(self) -> Iterator[str]:
        import httpx

        try:
            response = self.stream.__enter__()
        except httpx.HTTPError as error:
            raise self._failed(str(error) or type(error).__name__) from error
        if response.status_code != 200:
            self.stream.__exit__(None, None, None)
            raise self._failed(f"HTTP {response.status_code}")
        return self._read(response)

    def _read(self, response: httpx.Response) -> Iterator[str]:
        import httpx

        try:
            yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise self._failed(str(error) or type(error).__name__) from error

    def __exit__(self, *args: object) -> None:
        self.stream.__exit__(None, None, None)

    def _failed(self, why: str) -> OrthwebError:
        return OrthwebError(
            f"{self.url}: {why}", "check the region's name and the way to the Internet; the prices stay as they were"
        )


def extract(lines: Iterable[str], sought: Sequence[Product], region: str) -> list[Price]:
    """Take the prices of some products from a service's list.

    The first lines are pairs (the publication date among them); then comes the row of column names, which begins with
    ``SKU``. A product that the list prices in two ways is left out: better none than a wrong one.

    Raises
    ------
    OrthwebError : the text is no price list.
    """
    published = ""
    columns: list[str] | None = None
    usage_at = 0
    found: dict[str, dict[float, set[float]]] = {}
    endings = tuple({product.usage for product in sought})
    for cells in csv.reader(lines):
        if columns is None:
            if cells[:1] == ["Publication Date"]:
                published = cells[1][:10]
            elif cells[:1] == ["SKU"]:
                columns = cells
                usage_at = columns.index("usageType") if "usageType" in columns else len(columns)
            continue
        # EC2's list has a million rows of which a hundred matter.
        if len(cells) <= usage_at or not cells[usage_at].endswith(endings):
            continue
        row = dict(zip(columns, cells, strict=False))
        if row.get("TermType") != "OnDemand":
            continue
        for product in sought:
            if product.matches(row):
                start = float(row.get("StartingRange") or 0)
                found.setdefault(product.item, {}).setdefault(start, set()).add(float(row["PricePerUnit"]))
    if columns is None or not published:
        raise OrthwebError(f"the price list of {sought[0].offer} in {region} is not in the form that AWS documents")
    return [price for product in sought for price in _tiers(product, found.get(product.item, {}), region, published)]


def _tiers(product: Product, found: Mapping[float, set[float]], region: str, day: str) -> Iterator[Price]:
    # A free allowance is listed as a first tier, or beside the real one: it is the account's, not the site's.
    tiers = {start: {usd for usd in values if usd > 0} for start, values in found.items()}
    paid = {start: values for start, values in tiers.items() if values}
    if not paid or any(len(values) > 1 for values in paid.values()):
        return
    first = min(paid)
    for start, values in sorted(paid.items()):
        (usd,) = values
        yield Price(
            item=product.item,
            region=region,
            unit=product.unit,
            usd=round(usd * product.factor, 10),
            as_of=day,
            source="price-list",
            start=0.0 if start == first else start / product.factor,
        )
