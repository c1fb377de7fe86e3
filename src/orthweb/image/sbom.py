"""A software bill of materials for an image: CycloneDX 1.6 (ECMA-424), JSON."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from orthweb import __version__
from orthweb.files import write_whole
from orthweb.image import contents
from orthweb.image.engine import Image


def write(folder: Path, role: str, reference: str, image: Image, has: contents.Contents) -> Path:
    """Write an image's bill of materials into a folder, and give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"orthweb-{role}.cdx.json"
    write_whole(path, document(role, reference, image, has).encode() + b"\n", mode=0o644)
    return path


def document(role: str, reference: str, image: Image, has: contents.Contents) -> str:
    """Give an image's bill of materials: the same image gives the same text."""
    subject = Component(
        name=f"orthweb/{role}",
        version=__version__,
        type=ComponentType.CONTAINER,
        bom_ref=image.id,
        licenses=_licences(filter(None, [image.labels.get("org.opencontainers.image.licenses")])),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=image.id.removeprefix("sha256:"))],
        properties=[Property(name="orthweb:reference", value=reference)],
    )
    bom = Bom(components=[_system(has), *(_component(each, has) for each in has.components)])
    bom.serial_number = uuid5(NAMESPACE_URL, image.id)
    bom.metadata.component = subject
    created = image.labels.get("org.opencontainers.image.created")
    if created:
        bom.metadata.timestamp = datetime.fromisoformat(created)
    # Everything is installed directly: dpkg's own dependencies say more, and are in the image.
    bom.register_dependency(subject, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _system(has: contents.Contents) -> Component:
    return Component(
        name=has.system.get("ID", "linux"),
        version=has.system.get("DEBIAN_VERSION_FULL") or has.system.get("VERSION_ID"),
        type=ComponentType.OPERATING_SYSTEM,
        description=has.system.get("PRETTY_NAME"),
        bom_ref="operating-system",
    )


def _component(each: contents.Component, has: contents.Contents) -> Component:
    qualifiers = {}
    properties = []
    if each.kind == "deb":
        release = has.system.get("VERSION_CODENAME", "")
        qualifiers = {"arch": each.architecture, "distro": release}
        properties = [Property(name="orthweb:source-package", value=each.source)]
    namespace = has.system.get("ID", "debian") if each.kind == "deb" else None
    url = PackageURL(
        each.kind, namespace, each.name, each.version, {key: word for key, word in qualifiers.items() if word}
    )
    return Component(
        name=each.name,
        version=each.version,
        type=ComponentType.LIBRARY,
        purl=url,
        bom_ref=url.to_string(),
        licenses=_licences(each.licences),
        properties=properties,
    )


def _licences(names: Iterable[str]) -> list[License]:
    """Give licences by SPDX's identifiers, else by name: beside others CycloneDX allows no expression."""
    factory = LicenseFactory()
    names = list(names)
    if len(names) == 1:
        return [factory.make_from_string(names[0])]
    found: list[License] = []
    for name in names:
        made = factory.make_from_string(name)
        found.append(DisjunctiveLicense(name=name) if isinstance(made, LicenseExpression) else made)
    return found
