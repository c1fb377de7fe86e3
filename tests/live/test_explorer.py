"""Orthanc Explorer through the edge, in a real Chromium that trusts the site's CA as a person's would."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from live.edge_clients import image, store
from live.sites import LiveSite
from orthweb.access import SiteAccess

SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server")


@pytest.fixture(scope="module")
def access(site: LiveSite) -> SiteAccess:
    return site.access


@contextlib.contextmanager
def chromium(program: Callable[[str], Path], ca: Path | None) -> Iterator[Chrome]:
    """Run a Chromium with a home of its own, in which `ca` is trusted (NSS, as `orthweb trust` tells)."""
    with tempfile.TemporaryDirectory(prefix="orthweb-browser-", ignore_cleanup_errors=True) as home:
        if ca is not None:
            database = Path(home, ".pki/nssdb")
            database.mkdir(parents=True)
            certutil = [str(program("certutil")), "-d", f"sql:{database}"]
            subprocess.run([*certutil, "-N", "--empty-password"], check=True, capture_output=True)
            subprocess.run([*certutil, "-A", "-t", "C,,", "-n", "site", "-i", str(ca)], check=True)
        options = ChromeOptions()
        options.binary_location = str(program("chromium"))
        for switch in (*SWITCHES, "--window-size=1200,900", f"--user-data-dir={home}/profile"):
            options.add_argument(switch)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(
            options=options, service=Service(str(program("chromedriver")), env={**os.environ, "HOME": home})
        )
        try:
            yield driver
        finally:
            driver.quit()


def sign_in(browser: Chrome, access: SiteAccess) -> None:
    """Give the login once, in an address, where a person would answer the browser's question."""
    login = f"{access.credentials.user}:{access.credentials.password}@"
    browser.get(f"{access.url}/system".replace("https://", f"https://{login}"))
    assert '"Name" : "orthweb"' in browser.find_element(By.TAG_NAME, "body").text


def log(browser: Chrome, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = browser.get_log(name)  # type: ignore[no-untyped-call]
    return found


def requested(browser: Chrome) -> list[str]:
    """List the addresses that the pages asked for."""
    events = [json.loads(entry["message"])["message"] for entry in log(browser, "performance")]
    sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [address for address in sent if not address.startswith("chrome")]


def test_explorer_when_signed_in_once_then_shows_a_study_and_complains_of_nothing(
    access: SiteAccess, program: Callable[[str], Path], tmp_path: Path
) -> None:
    made = image()
    made.PatientName = "Explorer^Jane"
    made.PatientID = f"EXPLORER-{uuid.uuid4().hex[:8]}"
    assert store(access, made) == [0]
    pictures = Path(os.environ.get("ORTHWEB_SCREENSHOTS", tmp_path))
    with chromium(program, access.ca) as browser:
        sign_in(browser, access)
        log(browser, "browser")
        requested(browser)

        def shows(text: str) -> None:
            WebDriverWait(browser, 20).until(lambda page: text in page.find_element(By.TAG_NAME, "body").text)

        browser.get(f"{access.url}/")
        WebDriverWait(browser, 20).until(lambda page: page.title == "Orthanc Explorer")
        browser.find_element(By.LINK_TEXT, "All patients").click()
        shows(str(made.PatientID))
        assert browser.save_screenshot(str(pictures / "explorer-patients.png"))
        browser.find_element(By.PARTIAL_LINK_TEXT, str(made.PatientID)).click()
        shows(str(made.StudyDescription))
        assert browser.save_screenshot(str(pictures / "explorer-patient.png"))
        complaints = [entry["message"] for entry in log(browser, "browser") if entry["level"] in ("SEVERE", "WARNING")]
        asked = requested(browser)
    assert complaints == []
    assert len(asked) > 10
    assert [address for address in asked if not address.startswith((f"{access.url}/", "data:", "blob:"))] == []


def test_browser_without_a_password_then_sees_no_page(access: SiteAccess, program: Callable[[str], Path]) -> None:
    with chromium(program, access.ca) as browser:
        browser.get(f"{access.url}/healthz")
        assert "ok" in browser.find_element(By.TAG_NAME, "body").text
        browser.get(f"{access.url}/app/explorer.html")
        assert "Orthanc" not in browser.title
        assert "Orthanc" not in browser.find_element(By.TAG_NAME, "body").text


def test_browser_that_does_not_trust_the_ca_then_warns(access: SiteAccess, program: Callable[[str], Path]) -> None:
    with chromium(program, None) as browser:
        browser.get(f"{access.url}/healthz")
        assert browser.title == "Privacy error"
        assert "ERR_CERT_AUTHORITY_INVALID" in browser.page_source
