"""The verbs of a local site, as a person calls them."""

from __future__ import annotations

import json
import subprocess

from live.sites import LiveSite


def test_up_when_repeated_then_changes_nothing(site: LiveSite) -> None:
    before = {service["name"]: service["pid"] for service in _status(site)["services"]}
    assert "Nothing to change." in site.orthweb("up").stdout
    assert {service["name"]: service["pid"] for service in _status(site)["services"]} == before


def test_plan_on_a_new_site_then_names_everything_and_changes_nothing(new_site: LiveSite) -> None:
    items = json.loads(new_site.orthweb("plan", "--json").stdout)
    assert {"start"} == {item["action"] for item in items if item["what"] in ("index", "archive", "edge")} - {"create"}
    assert not (new_site.folder / ".orthweb").exists()


def _status(site: LiveSite) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(site.orthweb("status", "--json").stdout)
    return found


def test_files_of_a_running_site_when_another_user_looks_then_none_can_be_read(site: LiveSite, as_root: None) -> None:
    nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"]
    find = [*nobody, "find", f"{site.state}/", "-type", "f", "-readable"]
    assert subprocess.run(find, capture_output=True, text=True, check=False).stdout == ""
    for name in ("index", "archive", "edge", "secrets", "pki", "logs", "store"):
        listing = subprocess.run([*nobody, "ls", str(site.state / name)], capture_output=True, text=True, check=False)
        assert "Permission denied" in listing.stderr
