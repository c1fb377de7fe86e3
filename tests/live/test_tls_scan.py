"""Both ports judged by others: Mozilla's recommendation (sslyze), and testssl.sh."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from live.sites import LiveSite, live_site
from orthweb.checks import mozilla

HARMLESS = {
    "cert_revocation",  # leaves of 90 days instead of lists and responders that somebody would have to run
    "cert_chain_of_trust",  # a private CA: that is what it is for
    "HSTS",  # never for localhost, where other services of the machine would be held to it
    "overall_grade",  # T: a private CA
}
"""What testssl says of a site with a CA of its own, whatever else is right."""

SEVERE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}


@pytest.fixture(scope="module")
def modern() -> Iterator[LiveSite]:
    with live_site(tls={"profile": "modern"}) as made:
        yield made


@pytest.mark.parametrize("profile", ["intermediate", "modern"])
def test_both_ports_then_follow_mozillas_profile(request: pytest.FixtureRequest, profile: str) -> None:
    made: LiveSite = request.getfixturevalue("modern" if profile == "modern" else "site")
    access = made.access
    for port in (access.https_port, access.dicom_port):
        verdict = mozilla.judge(access.host, port, profile, access.ca, None, timeout=90)
        assert verdict.problems == (), f"port {port}"
        assert verdict.compliant
        assert verdict.seen.startswith("TLS 1.3" if profile == "modern" else "TLS 1.2")


def test_intermediate_site_when_judged_as_modern_then_fails(site: LiveSite) -> None:
    access = site.access
    verdict = mozilla.judge(access.host, access.dicom_port, "modern", access.ca, None, timeout=90)
    assert not verdict.compliant


def test_testssl_then_finds_nothing_worse_than_a_private_ca(
    site: LiveSite, program: Callable[[str], Path], tmp_path: Path
) -> None:
    access = site.access
    testssl = str(program("testssl"))

    def scan(name: str, port: int) -> list[dict[str, str]]:
        report = tmp_path / f"{name}.json"
        # No client simulations and no ciphers one by one: they say nothing about severity and take minutes.
        options = ["--protocols", "--server-defaults", "--server-preference", "--std", "--fs", "--vulnerable"]
        options += ["--headers"] if name == "https" else []
        command = [testssl, *options, "--quiet", "--warnings", "batch", "--color", "0", "--ip", "127.0.0.1", "--fast"]
        command += ["--add-ca", str(access.ca), "--jsonfile", str(report), f"{access.host}:{port}"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL
        )
        assert report.exists(), done.stdout[-2000:] + done.stderr[-2000:]
        found: list[dict[str, str]] = json.loads(report.read_text())
        return found

    ports = {"https": access.https_port, "dicom": access.dicom_port}
    with ThreadPoolExecutor() as pool:
        scans = dict(zip(ports, pool.map(scan, ports, ports.values()), strict=True))
    for name, found in scans.items():
        ids = {finding["id"].split(" ")[0] for finding in found}
        # The scan came to its end, and saw what is there.
        assert {"TLS1", "TLS1_2", "TLS1_3", "heartbleed", "LUCKY13", "RC4"} <= ids, name
        bad = [
            f"{finding['id']}: {finding['severity']}: {finding['finding']}"
            for finding in found
            if finding["severity"] in SEVERE and finding["id"].split(" ")[0] not in HARMLESS
        ]
        assert bad == [], name
