"""How much a site is used, as a person states it, and what follows from it a month."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

GIB: Final = 2**30
"""Bytes; what AWS calls a GB in its prices."""

DAYS: Final = 365.25 / 12
"""Days of a month."""

HOURS: Final = 730
"""Hours of a month, as AWS's own calculator counts them."""

INDEX_BYTES: Final = 4 * 1024
"""Bytes of one instance in the index: its rows and their PostgreSQL indexes. 4,000 CT slices took 2.6 KiB each with one
attachment; in a bucket each has two, and a database that is written to has gaps."""

OBJECTS: Final = 2
"""Objects of one instance in the bucket: the DICOM file, and its head without pixel data."""


@dataclass(frozen=True)
class Volumes:
    """How much a site is used.

    Parameters
    ----------
    studies_per_day : new studies a day, weekends and holidays averaged in.
    study_size : bytes of one study on average.
    instance_size : bytes of one instance on average (a CT slice has 0.5 MiB).
    retention_years : how long a study is kept; nothing is deleted before.
    retrievals : how many times a study leaves AWS in its life, on average: to viewers and workstations.
    months : the age of the site at which the month is priced.
    """

    studies_per_day: float = 50.0
    study_size: int = 250 * 2**20
    instance_size: int = 2**19
    retention_years: float = 10.0
    retrievals: float = 1.0
    months: int = 12

    @property
    def month_gib(self) -> float:
        """GiB that arrive in a month."""
        return self.studies_per_day * DAYS * self.study_size / GIB

    @property
    def month_instances(self) -> float:
        """Instances that arrive in a month."""
        return self.studies_per_day * DAYS * self.study_size / self.instance_size

    @property
    def kept_months(self) -> float:
        """How many months of studies there are at the age that is priced."""
        return min(float(self.months), self.retention_years * 12)

    @property
    def stored_gib(self) -> float:
        """GiB of DICOM files at that age."""
        return self.month_gib * self.kept_months

    @property
    def stored_instances(self) -> float:
        """Instances at that age."""
        return self.month_instances * self.kept_months

    @property
    def index_gib(self) -> float:
        """GiB of the index at that age, pixel data apart."""
        return self.stored_instances * INDEX_BYTES / GIB

    @property
    def sent_gib(self) -> float:
        """GiB that leave AWS in a month."""
        return self.month_gib * self.retrievals

    def by_age(self) -> tuple[float, float, float]:
        """Split `stored_gib` as S3 Intelligent-Tiering does: under 30 days, 30 to 90, older without access."""
        month = self.month_gib
        young = month * min(1.0, self.kept_months)
        middle = month * max(0.0, min(2.0, self.kept_months - 1))
        return young, middle, max(0.0, self.stored_gib - young - middle)
