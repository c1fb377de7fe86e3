"""Values of a site file that are each right and do not go together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.tomltext import Place

if TYPE_CHECKING:
    from orthweb.site import Site


@dataclass(frozen=True)
class Contradiction:
    """Values that are each right and do not go together.

    Parameters
    ----------
    place : the key to name first.
    others : the other keys; when one of these is wrong by itself, that is said instead.
    message : what is wrong with `place`, and what to do.
    """

    place: Place
    others: tuple[Place, ...]
    message: str


def contradictions(site: Site) -> Iterator[Contradiction]:
    """Give the combinations of values that cannot work together."""
    yield from _edge(site)
    if (site.tls.certificate is None) != (site.tls.key is None):
        given, missing = ("certificate", "key") if site.tls.certificate else ("key", "certificate")
        yield Contradiction(
            ("tls", given),
            (("tls", missing),),
            f"needs tls.{missing} too: give both, or neither for the site's own CA",
        )
    yield from _index(site)
    yield from _s3(site)
    yield from _archive(site)
    yield from _modality(site)
    if site.target == "aws":
        from orthweb.contradictions_aws import on_aws

        yield from on_aws(site)


def _index(site: Site) -> Iterator[Contradiction]:
    index, host = site.index, ("index", "host")
    if index.host is not None:
        missing = [name for name, value in (("password", index.password), ("ca", index.ca)) if value is None]
        for name in missing:
            yield Contradiction(host, (("index", name),), f"needs index.{name} too")
        return
    for name in ("port", "database", "user", "password", "ca"):
        if getattr(index, name) == type(index).model_fields[name].default:
            continue
        yield Contradiction(("index", name), (host,), "is never used without index.host")


def _s3(site: Site) -> Iterator[Contradiction]:
    if site.store.kind == "s3" and site.s3.bucket is None and site.target != "aws":
        yield Contradiction(("store", "kind"), (("s3", "bucket"),), "needs s3.bucket too")
    if site.s3.kms_key is not None and site.s3.encryption != "kms":
        keys = ("s3", "kms_key"), ("s3", "encryption")
        yield Contradiction(keys[0], (keys[1],), 'is never used unless s3.encryption = "kms"')
    # AWS's names can have another CA behind a proxy that looks into TLS; the region says that it is AWS's bucket.
    if site.s3.ca is not None and site.s3.endpoint is None and "region" not in site.s3.model_fields_set:
        yield Contradiction(("s3", "ca"), (("s3", "endpoint"),), "is never used without s3.endpoint or s3.region")


def _archive(site: Site) -> Iterator[Contradiction]:
    if site.target == "local" and site.archive.image != "debian":
        keys = ("archive", "image"), ("target",)
        yield Contradiction(keys[0], (keys[1],), 'is for target = "docker"; local runs this machine\'s own Orthanc')
    seen: dict[Path, int] = {}
    for number, plugin in enumerate(site.archive.extra_plugins):
        first = seen.setdefault(plugin.path, number)
        if first != number:
            place = ("archive", "extra_plugins", number, "path")
            yield Contradiction(place, (), f"is archive.extra_plugins[{first}].path as well; name it once")


def _edge(site: Site) -> Iterator[Contradiction]:
    ports = (("edge", "https_port"), ("edge", "dicom_port"))
    if site.edge.https_port == site.edge.dicom_port:
        place, other = ports if "dicom_port" not in site.edge.model_fields_set else ports[::-1]
        yield Contradiction(place, (other,), f"is {'.'.join(other)} as well; HTTPS and DICOM each need their own port")
    seen: set[IPv4Address | IPv6Address] = set()
    for address in site.edge.listen:
        everywhere = next((a for a in site.edge.listen if a.is_unspecified and a.version == address.version), None)
        if address in seen:
            yield Contradiction(("edge", "listen"), (), f"should name {address} once")
        elif everywhere is not None and address != everywhere:
            yield Contradiction(("edge", "listen"), (), f"should not name {address}: {everywhere} includes it")
        seen.add(address)


def _modality(site: Site) -> Iterator[Contradiction]:
    # Orthanc knows a calling peer, and C-MOVE its destination, by AE title alone, without regard to case.
    owners: dict[str, tuple[str, ...]] = {site.dicom.aet.casefold(): ("dicom", "aet")}
    for name, peer in site.modalities.items():
        place = ("modalities", name, "aet")
        owner = owners.setdefault(peer.aet.casefold(), place)
        if owner != place:
            yield Contradiction(
                place,
                (owner,),
                f"is {'.'.join(owner)} as well; C-MOVE finds its destination by AE title, so each is unique",
            )
        if peer.ca is not None and not peer.tls:
            keys = ("modalities", name, "ca"), ("modalities", name, "tls")
            yield Contradiction(keys[0], (keys[1],), "is never used while tls = false; remove one of the two")
