"""What a site file asks for and an Orthanc does not have: named by key, with the next step."""

from __future__ import annotations

from collections.abc import Iterator

from orthweb.capabilities.build import OLDEST_ORTHANC, REQUIRED, OrthancBuild, dotted_version
from orthweb.errors import SiteFileError, UsageError
from orthweb.site import Site

_NEEDED_FOR = {
    "PostgreSQLIndex": "every site keeps its index in PostgreSQL",
    "DicomWeb": "every site offers DICOMweb",
    "Gdcm": "compressed images are decoded by it",
    "Python": "this project's part of Orthanc runs in it",
}


def refuse(site: Site, build: OrthancBuild, where: str) -> None:
    """Check that an Orthanc can do what a site needs.

    Parameters
    ----------
    where : where this Orthanc is, in words that follow "the Orthanc": ``on this machine``, ``in the image x:1``.

    Raises
    ------
    UsageError : the Orthanc is too old, or lacks what every site needs.
    SiteFileError : the site file asks for what this Orthanc does not have; one line for each key.
    """
    if build.version < OLDEST_ORTHANC:
        raise UsageError(
            f"the Orthanc {where} is {dotted_version(build.version) or 'of no known version'}: too old",
            f"Orthweb needs {dotted_version(OLDEST_ORTHANC)} or newer",
        )
    missing = [name for name in REQUIRED if build.plugin(name) is None]
    if missing:
        words = "; ".join(f"{name}: {_NEEDED_FOR[name]}" for name in missing)
        raise UsageError(
            f"the Orthanc {where} lacks plugins ({words})",
            "choose another archive.image, or name them in extra_plugins",
        )
    problems = list(_problems(site, build, where))
    if problems:
        raise SiteFileError(problems)


def _problems(site: Site, build: OrthancBuild, where: str) -> Iterator[str]:
    if site.store.kind == "database" and build.plugin("PostgreSQLStorage") is None:
        yield (
            f'store.kind: "database": the Orthanc {where} lacks the plugin PostgreSQLStorage; choose filesystem or s3, '
            "or an image that has it"
        )
    if site.store.kind == "s3" and build.s3_plugin is None:
        yield (
            f'store.kind: "s3": the Orthanc {where} has neither the plugin Python nor AwsS3Storage; choose filesystem '
            "or database, or an image that has one"
        )
