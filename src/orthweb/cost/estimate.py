"""The monthly estimate: usage times price, by service, with the assumptions it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from orthweb.cost.plan import Plan
from orthweb.cost.prices import FALLBACK, Prices
from orthweb.cost.usage import (
    BACKUP_CHANGE,
    IMAGES_GIB,
    LOG_BYTES,
    LOGS_GIB,
    OPERATIONS_GIB,
    REOPENED,
    Usage,
    database_gib,
    unpriced,
    usages,
)
from orthweb.cost.volumes import HOURS, INDEX_BYTES, OBJECTS, Volumes


@dataclass(frozen=True)
class Line:
    """One position of the estimate: equal things of all resources together.

    Parameters
    ----------
    quantity : in `unit`, a month.
    usd : US dollars a month.
    addresses : the resources that it comes from; empty for traffic.
    """

    service: str
    what: str
    quantity: float
    unit: str
    usd: float
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Estimate:
    """What a site costs in one month of its life.

    Parameters
    ----------
    total : US dollars in the month that the volumes name.
    course : US dollars in months of other ages: (age in months, US dollars).
    assumptions : what it rests on, a sentence each.
    warnings : what it does not cover, or what will not go well.
    oldest, newest : dates of the prices that were used (ISO 8601).
    """

    region: str
    lines: tuple[Line, ...]
    total: float
    course: tuple[tuple[int, float], ...]
    volumes: Volumes
    assumptions: tuple[str, ...]
    warnings: tuple[str, ...]
    oldest: str
    newest: str

    @property
    def services(self) -> tuple[tuple[str, float], ...]:
        """US dollars a month by service, the dearest first."""
        sums: dict[str, float] = {}
        for line in self.lines:
            sums[line.service] = sums.get(line.service, 0.0) + line.usd
        return tuple(sorted(sums.items(), key=lambda item: -item[1]))

    @property
    def headline(self) -> str:
        """Say it in one line, for a plan's summary."""
        return (
            f"about ${self.total:,.0f} a month in {self.region} with {self.volumes.studies_per_day:g} studies a day, "
            f"after {self.volumes.months} months (`orthweb cost` shows why)"
        )

    def document(self) -> dict[str, Any]:
        """Give all of it as JSON-ready facts; money in US dollars, sizes in bytes."""
        return {
            "region": self.region,
            "currency": "USD",
            "total": round(self.total, 2),
            "course": [{"months": months, "total": round(usd, 2)} for months, usd in self.course],
            "services": {name: round(usd, 2) for name, usd in self.services},
            "lines": [
                {
                    **asdict(line),
                    "quantity": round(line.quantity, 3),
                    "usd": round(line.usd, 2),
                    "addresses": list(line.addresses),
                }
                for line in self.lines
            ],
            "volumes": asdict(self.volumes),
            "prices": {"oldest": self.oldest, "newest": self.newest},
            "assumptions": list(self.assumptions),
            "warnings": list(self.warnings),
        }


def estimate(plan: Plan, volumes: Volumes, prices: Prices, region: str | None = None) -> Estimate:
    """Estimate what the resources of a plan cost a month.

    Parameters
    ----------
    region : where it is; None takes the plan's, and `FALLBACK` when the plan does not say.
    """
    place = region or plan.region or FALLBACK
    warnings: list[str] = []
    if region is None and plan.region is None:
        warnings.append(f"the plan does not say its region: priced in {place}")
    merged = _merged(tuple(usages(plan, volumes)))
    lines: list[Line] = []
    dates: set[str] = set()
    rough: set[str] = set()
    borrowed: set[str] = set()
    for usage, addresses in merged:
        charge = prices.charge(usage.item, place, usage.quantity)
        if charge is None:
            warnings.append(f"{usage.service}: {usage.what}: no price of {usage.item}: left out")
            continue
        if charge.borrowed:
            borrowed.add(usage.item)
        dates |= {tier.as_of for tier in charge.tiers}
        rough |= {tier.item for tier in charge.tiers if tier.source != "price-list"}
        lines.append(Line(usage.service, usage.what, usage.quantity, charge.tiers[0].unit, charge.usd, addresses))
    if borrowed:
        warnings.append(
            f"no prices in {place} of {len(borrowed)} items: {FALLBACK}'s stand in; get them: `orthweb cost refresh`"
        )
    if rough:
        warnings.append(
            f"{len(rough)} prices are list prices written down by hand ({min(dates)}); `orthweb cost refresh` reads "
            "today's from AWS"
        )
    warnings += _gaps(plan, volumes)
    return Estimate(
        region=place,
        lines=tuple(sorted(lines, key=lambda line: -line.usd)),
        total=sum(line.usd for line in lines),
        course=_course(plan, volumes, prices, place),
        volumes=volumes,
        assumptions=_assumptions(volumes),
        warnings=tuple(warnings),
        oldest=min(dates, default=""),
        newest=max(dates, default=""),
    )


def _merged(found: Sequence[Usage]) -> list[tuple[Usage, tuple[str, ...]]]:
    """Add equal things up: tiers of a price count what a whole account uses."""
    groups: dict[tuple[str, str, str], list[Usage]] = {}
    for usage in found:
        groups.setdefault((usage.service, usage.what, usage.item), []).append(usage)
    merged = []
    for (service, what, item), members in groups.items():
        words = what if len(members) == 1 else f"{what} x {len(members)}"
        addresses = tuple(member.address for member in members if member.address)
        merged.append((Usage(service, words, item, sum(member.quantity for member in members), ""), addresses))
    return merged


def _course(plan: Plan, volumes: Volumes, prices: Prices, region: str) -> tuple[tuple[int, float], ...]:
    course = []
    for months in sorted({1, 12, 36, max(1, round(volumes.retention_years * 12))}):
        charges = (
            prices.charge(usage.item, region, usage.quantity)
            for usage, _ in _merged(tuple(usages(plan, replace(volumes, months=months))))
        )
        course.append((months, sum(charge.usd for charge in charges if charge is not None)))
    return tuple(course)


def _gaps(plan: Plan, volumes: Volumes) -> list[str]:
    gaps = [f"{name}: not priced: orthweb does not know this type of resource" for name in unpriced(plan)]
    for database in plan.of("aws_db_instance"):
        limit = float(database.values.get("max_allocated_storage") or database.values.get("allocated_storage") or 0)
        used = database_gib(plan, replace(volumes, months=round(volumes.retention_years * 12)))
        if limit and used > limit:
            gaps.append(
                f"the database will need {used:,.0f} GiB at the end of the retention, and grows to {limit:,.0f} GiB "
                "only: raise aws.database.max_storage in time"
            )
    if plan.of("aws_s3_bucket_replication_configuration"):
        gaps.append("replication: storage and transfer on the other side are not in it")
    if plan.of("aws_ec2_client_vpn_endpoint"):
        gaps.append("client VPN: connections ($0.05 an hour each) are not in it")
    return gaps


def _assumptions(volumes: Volumes) -> tuple[str, ...]:
    often = "once" if volumes.retrievals == 1 else f"{volumes.retrievals:g} times"
    return (
        f"{volumes.studies_per_day:g} studies a day of {volumes.study_size / 2**20:g} MiB, in instances of "
        f"{volumes.instance_size / 2**20:g} MiB; kept {volumes.retention_years:g} years",
        f"each study leaves AWS {often} over the Internet; nothing is deducted for Direct Connect",
        f"the site is {volumes.months} months old and everything since has been kept",
        f"on demand, {HOURS} hours a month: no savings plan, no reservation, no free tier, no tax, no support plan",
        f"an instance is {OBJECTS} objects and {INDEX_BYTES // 1024} KiB of index; {REOPENED:.0%} of old studies are "
        "opened in a month; overwritten and deleted versions in the bucket are few",
        f"a host writes {LOGS_GIB:g} GiB of logs a month and {LOG_BYTES} bytes an instance, and takes "
        f"{OPERATIONS_GIB:g} GiB from AWS and Debian; an image repository holds {IMAGES_GIB:g} GiB; "
        f"{BACKUP_CHANGE:.0%} of the index changes a day",
        "t instances stay within their CPU credits",
    )
