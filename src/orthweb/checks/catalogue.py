"""All checks, and how to choose among them."""

from __future__ import annotations

from collections.abc import Sequence

from orthweb.checks import dicom, host, index, security, store, tls, web
from orthweb.checks.check import GROUP_WORDS, GROUPS, Check
from orthweb.errors import UsageError

ALL: tuple[Check, ...] = (
    *dicom.CHECKS,
    *web.CHECKS,
    *tls.CHECKS,
    *index.CHECKS,
    *store.CHECKS,
    *host.CHECKS,
    *security.CHECKS,
)


def select(groups: Sequence[str] = (), ids: Sequence[str] = ()) -> list[Check]:
    """Choose the checks of some groups and some single ones; all when nothing is named.

    Raises
    ------
    UsageError : there is no such group or check.
    """
    known = {check.id for check in ALL}
    for group in groups:
        if group not in GROUPS:
            raise UsageError(f"{group}: no such group", f"one of {', '.join(GROUPS)}")
    for name in ids:
        if name not in known:
            raise UsageError(f"{name}: no such check", "`orthweb validate --list` shows all")
    if not groups and not ids:
        return list(ALL)
    return [check for check in ALL if check.group in groups or check.id in ids]


def markdown() -> str:
    """Give docs/checks.md: all checks by group."""
    lines = [
        "# Checks",
        "",
        "What `orthweb validate` proves. Written by `python -m orthweb.checks.catalogue`: change the checks, not it.",
        "How to run them and what comes out: [validate.md](validate.md).",
    ]
    for group in GROUPS:
        lines += ["", f"## {GROUP_WORDS[group]}", "", "| check | what | expected |", "|---|---|---|"]
        lines += [f"| `{item.id}` | {item.title} | {item.expected} |" for item in ALL if item.group == group]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    import sys

    sys.stdout.write(markdown())
