"""Reading AWS's price list: files in the form that AWS documents, from a server of our own."""

from __future__ import annotations

import csv
import http.server
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from orthweb.cli import app
from orthweb.cost import built_in
from orthweb.cost.pricelist import PRODUCTS, extract, products, refresh
from orthweb.cost.prices import known
from orthweb.errors import OrthwebError

COLUMNS = (
    "SKU",
    "OfferTermCode",
    "RateCode",
    "TermType",
    "PriceDescription",
    "EffectiveDate",
    "StartingRange",
    "EndingRange",
    "Unit",
    "PricePerUnit",
    "Currency",
    "Product Family",
    "Instance Type",
    "Tenancy",
    "Operating System",
    "License Model",
    "Pre Installed S/W",
    "CapacityStatus",
    "Database Engine",
    "Deployment Option",
    "Alarm Type",
    "Transfer Type",
    "To Location",
    "usageType",
    "operation",
)

LINUX = {
    "Tenancy": "Shared",
    "Operating System": "Linux",
    "License Model": "No License required",
    "Pre Installed S/W": "NA",
    "CapacityStatus": "Used",
}


def row(usage: str, usd: str, **more: str) -> dict[str, str]:
    return {"TermType": "OnDemand", "StartingRange": "0", "usageType": usage, "PricePerUnit": usd, **more}


def price_list(offer: str, *rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows(
        [
            ("FormatVersion", "v1.0"),
            ("Disclaimer", 'Prices are subject to terms, "such as these"'),
            ("Publication Date", "2026-09-04T23:11:17Z"),
            ("Version", "20260904231117"),
            ("OfferCode", offer),
            COLUMNS,
        ]
    )
    writer.writerows([one.get(column, "") for column in COLUMNS] for one in rows)
    return text.getvalue()


def prices_of(item: str, *rows: dict[str, str]) -> list[tuple[float, float]]:
    found = extract(price_list("any", *rows).splitlines(), products([item]), "eu-central-1")
    assert all(price.as_of == "2026-09-04" and price.source == "price-list" for price in found)
    return [(price.start, price.usd) for price in found]


def test_instance_when_listed_in_many_ways_is_the_shared_linux_one() -> None:
    windows = LINUX | {"Operating System": "Windows"}
    reserved = LINUX | {"TermType": "Reserved"}
    rows = [
        row("EUC1-BoxUsage:t3.large", "0.0960000000", **LINUX),
        row("EUC1-BoxUsage:t3.large", "0.1236000000", **windows),
        row("EUC1-BoxUsage:t3.large", "0.0600000000", **reserved),
        row("EUC1-BoxUsage:t3.2xlarge", "0.3840000000", **LINUX),
        row("EUC1-UnusedBox:t3.large", "0.0970000000", **LINUX | {"CapacityStatus": "AllocatedCapacityReservation"}),
    ]
    assert prices_of("ec2/t3.large", *rows) == [(0.0, 0.096)]


def test_database_when_listed_for_several_engines_is_postgresql_in_its_zones() -> None:
    postgresql = {"Database Engine": "PostgreSQL"}
    rows = [
        row("EUC1-InstanceUsage:db.t4g.medium", "0.0760", **postgresql, **{"Deployment Option": "Single-AZ"}),
        row("EUC1-InstanceUsage:db.t4g.medium", "0.0750", **{"Database Engine": "MySQL"}),
        row("EUC1-Multi-AZUsage:db.t4g.medium", "0.1520", **postgresql, **{"Deployment Option": "Multi-AZ"}),
    ]
    assert prices_of("rds/db.t4g.medium/single", *rows) == [(0.0, 0.076)]
    assert prices_of("rds/db.t4g.medium/multi", *rows) == [(0.0, 0.152)]


def test_name_when_another_one_ends_like_it_is_not_taken_for_it() -> None:
    rows = [row("EUC1-RegionalNatGateway-Hours", "0.09"), row("EUC1-NatGateway-Hours", "0.052")]
    assert prices_of("nat/hour", *rows) == [(0.0, 0.052)]


def test_price_when_for_single_requests_is_given_for_our_unit() -> None:
    assert prices_of("kms/requests", row("eu-central-1-KMS-Requests", "0.0000030000")) == [(0.0, 0.03)]


def test_price_when_it_has_tiers_keeps_them_without_the_free_one() -> None:
    out = {"Transfer Type": "AWS Outbound", "To Location": "External"}
    rows = [
        row("EUC1-DataTransfer-Out-Bytes", "0.0000000000", **out),
        row("EUC1-DataTransfer-Out-Bytes", "0.0900000000", **out | {"StartingRange": "100"}),
        row("EUC1-DataTransfer-Out-Bytes", "0.0850000000", **out | {"StartingRange": "10240"}),
        row("EUC1-DataTransfer-Out-Bytes", "0.0200000000", **out | {"To Location": "US East (Ohio)"}),
    ]
    assert prices_of("transfer/internet", *rows) == [(0.0, 0.09), (10240.0, 0.085)]


def test_price_when_listed_in_two_ways_is_left_out_rather_than_guessed() -> None:
    assert prices_of("s3/standard", row("TimedStorage-ByteHrs", "0.023"), row("TimedStorage-ByteHrs", "0.024")) == []


def test_text_when_it_is_no_price_list_is_refused() -> None:
    with pytest.raises(OrthwebError, match="not in the form that AWS documents"):
        extract(["<html>"], PRODUCTS[:1], "us-east-1")


def test_products_always_cover_the_table_but_what_the_price_list_cannot_tell() -> None:
    table = built_in()
    assert set(table.items) - {product.item for product in products(table.items)} == {"backup/rds"}
    assert {product.item for product in PRODUCTS} <= set(table.items)
    units = {entry.item: entry.unit for entry in table.entries}
    assert {product.item: product.unit for product in PRODUCTS}.items() <= units.items()


LISTS = {
    "/offers/v1.0/aws/AmazonEC2/current/eu-central-1/index.csv": price_list(
        "AmazonEC2", row("EUC1-BoxUsage:t3.large", "0.0990000000", **LINUX), row("EUC1-EBS:VolumeUsage.gp3", "0.0952")
    ),
    "/offers/v1.0/aws/awskms/current/eu-central-1/index.csv": price_list("awskms", row("eu-central-1-KMS-Keys", "1")),
}


class Lists(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        text = LISTS.get(self.path, price_list("other") if "eu-central-1" in self.path else None)
        self.send_response(200 if text is not None else 404)
        self.send_header("Content-Length", str(len((text or "").encode())))
        self.end_headers()
        self.wfile.write((text or "").encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lists) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_refresh_when_a_service_is_read_gives_its_prices_and_names_the_missing(server: str) -> None:
    with httpx.Client(trust_env=False) as client:
        found = refresh(["ec2/t3.large", "ebs/gp3", "nat/hour"], "eu-central-1", client, lambda _: None, server)
    assert {price.item: price.usd for price in found.prices} == {"ebs/gp3": 0.0952, "ec2/t3.large": 0.099}
    assert found.missing == ("nat/hour",)


def test_refresh_when_there_is_no_such_region_says_so(server: str) -> None:
    with httpx.Client(trust_env=False) as client, pytest.raises(OrthwebError, match=r"404.*region"):
        refresh(["kms/key"], "mars-north-1", client, lambda _: None, server)


def test_refresh_when_called_writes_a_table_that_cost_uses(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = tmp_path / "site.toml"
    call = ["--site", str(site), "cost", "refresh", "--region", "eu-central-1", "--server", server]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 0, result.output
    assert "3 prices read" in result.stdout
    table = known(tmp_path / ".orthweb/aws/prices.json")
    assert table.tiers("ec2/t3.large", "eu-central-1")[0].usd == 0.099
    assert table.tiers("ec2/t3.large", "us-east-1") == built_in().tiers("ec2/t3.large", "us-east-1")
    assert "nat/hour" in result.stderr
