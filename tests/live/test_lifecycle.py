"""The verbs of a local site, as a person calls them."""

from __future__ import annotations

import json
import stat

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


def test_files_of_a_running_site_are_closed_to_others(site: LiveSite) -> None:
    for path in site.state.rglob("*"):
        if path.is_symlink() or path.is_socket():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        closed = path.is_dir() and any(
            not stat.S_IMODE(above.stat().st_mode) & 0o077 for above in [path, *path.parents]
        )
        assert not mode & 0o077 or closed or path.is_dir() or not mode & 0o004, f"{path}: {mode:04o}"
