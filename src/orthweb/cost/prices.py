"""The table of prices: each with its region, unit, date and source (``prices.json``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from orthweb.errors import OrthwebError

FALLBACK: Final = "us-east-1"
"""The region whose prices are taken where the table has none for another one."""


@dataclass(frozen=True)
class Price:
    """One price, or one tier of it.

    Parameters
    ----------
    item : what is sold, ``service/thing``: ``ec2/t3.large``, ``s3/standard``.
    unit : what one of it is: hour, GB-month, 1000 requests.
    usd : US dollars for one unit.
    as_of : the day (ISO 8601) on which it was true, as far as the source says.
    source : a key of the table's ``sources``.
    start : the quantity a month from which this tier holds.
    """

    item: str
    region: str
    unit: str
    usd: float
    as_of: str
    source: str
    start: float = 0.0

    def document(self) -> dict[str, Any]:
        """Give it as it stands in the file."""
        tier = {"from": self.start} if self.start else {}
        return {
            "item": self.item,
            "region": self.region,
            "unit": self.unit,
            **tier,
            "usd": self.usd,
            "as_of": self.as_of,
            "source": self.source,
        }


@dataclass(frozen=True)
class Charge:
    """What a quantity costs.

    Parameters
    ----------
    tiers : the prices that were applied.
    borrowed : the price is `FALLBACK`'s, because the table has none for the region.
    """

    usd: float
    tiers: tuple[Price, ...]
    borrowed: bool


@dataclass(frozen=True)
class Prices:
    """A table of prices.

    Parameters
    ----------
    sources : what the sources' names mean.
    """

    entries: tuple[Price, ...]
    sources: Mapping[str, str]

    @cached_property
    def _tiers(self) -> dict[tuple[str, str], tuple[Price, ...]]:
        found: dict[tuple[str, str], list[Price]] = {}
        for entry in self.entries:
            found.setdefault((entry.region, entry.item), []).append(entry)
        return {key: tuple(sorted(tiers, key=lambda tier: tier.start)) for key, tiers in found.items()}

    @property
    def regions(self) -> tuple[str, ...]:
        """The regions that the table knows."""
        return tuple(sorted({entry.region for entry in self.entries}))

    @property
    def items(self) -> tuple[str, ...]:
        """What the table has prices of."""
        return tuple(sorted({entry.item for entry in self.entries}))

    def tiers(self, item: str, region: str) -> tuple[Price, ...]:
        """Give an item's prices in a region, the cheapest quantity first; empty where there are none."""
        return self._tiers.get((region, item), ())

    def charge(self, item: str, region: str, quantity: float) -> Charge | None:
        """Price a quantity over its tiers; None when no region that may stand in has a price either."""
        for place in (region, FALLBACK):
            if tiers := self.tiers(item, place):
                ends = [tier.start for tier in tiers[1:]] + [float("inf")]
                applied = [
                    (tier, min(quantity, end) - tier.start)
                    for tier, end in zip(tiers, ends, strict=True)
                    if quantity > tier.start or tier.start == 0.0
                ]
                usd = sum(tier.usd * amount for tier, amount in applied)
                return Charge(usd, tuple(tier for tier, _ in applied), place != region)
        return None

    def updated(self, newer: Iterable[Price]) -> Prices:
        """Put other prices in the place of all tiers of the same item and region."""
        added = tuple(newer)
        replaced = {(price.region, price.item) for price in added}
        kept = tuple(entry for entry in self.entries if (entry.region, entry.item) not in replaced)
        return Prices(tuple(sorted(kept + added, key=lambda one: (one.item, one.region, one.start))), self.sources)

    def text(self) -> str:
        """Write the table as a file, one price a line, so that a change of prices is easy to review."""
        head = json.dumps({"currency": "USD", "sources": dict(self.sources)}, indent=1)[:-2]
        lines = ",\n".join("  " + json.dumps(entry.document()) for entry in self.entries)
        return f'{head},\n "prices": [\n{lines}\n ]\n}}\n'


def read(text: str, name: str) -> Prices:
    """Read a table of prices.

    Raises
    ------
    OrthwebError : the text is no such table.
    """
    try:
        document = json.loads(text)
        if document["currency"] != "USD":
            raise OrthwebError(f"{name}: currency {document['currency']}: only USD is understood")
        entries = tuple(
            Price(
                item=entry["item"],
                region=entry["region"],
                unit=entry["unit"],
                usd=float(entry["usd"]),
                as_of=entry["as_of"],
                source=entry["source"],
                start=float(entry.get("from", 0)),
            )
            for entry in document["prices"]
        )
        return Prices(entries, dict(document["sources"]))
    except (ValueError, KeyError, TypeError) as error:
        raise OrthwebError(
            f"{name}: not a table of prices ({type(error).__name__}: {error})",
            "delete it; `orthweb cost refresh` writes it anew",
        ) from error


def built_in() -> Prices:
    """Read the table that comes with orthweb."""
    return read(files("orthweb.cost").joinpath("prices.json").read_text(encoding="utf-8"), "prices.json")


def known(refreshed: Path) -> Prices:
    """Read the table that comes with orthweb, and over it the one that ``orthweb cost refresh`` wrote, if it did.

    Raises
    ------
    OrthwebError : the refreshed file is damaged.
    """
    table = built_in()
    if not refreshed.exists():
        return table
    return table.updated(read(refreshed.read_text(encoding="utf-8"), str(refreshed)).entries)
