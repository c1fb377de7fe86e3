"""DIMSE status codes in words (PS3.7 Annex C, PS3.4 B.2.3, C.4)."""

from __future__ import annotations

from typing import Literal

Category = Literal["success", "warning", "pending", "cancel", "failure"]

_NAMES = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0111: "duplicate SOP instance",
    0x0112: "no such SOP instance",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0122: "SOP class not supported",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
    0x0213: "resource limitation",
    0xA801: "move destination unknown",
    0xB000: "warning: some sub-operations failed or elements were coerced",
    0xB006: "warning: elements discarded",
    0xB007: "warning: data set does not match SOP class",
    0xFE00: "cancelled",
}


def category(status: int) -> Category:
    """Sort a status as PS3.7 Annex C does."""
    if status == 0x0000:
        return "success"
    if status in (0x0001, 0x0107, 0x0116) or 0xB000 <= status <= 0xBFFF:
        return "warning"
    if status in (0xFF00, 0xFF01):
        return "pending"
    if status == 0xFE00:
        return "cancel"
    return "failure"


def describe(status: int, comment: str | None = None) -> str:
    """Name a status, with its code and the peer's *Error Comment* if there is one."""
    name = _NAMES.get(status)
    if name is None:
        if 0xA700 <= status <= 0xA7FF:
            name = "out of resources"
        elif 0xA900 <= status <= 0xA9FF:
            name = "data set does not match SOP class"
        elif 0xC000 <= status <= 0xCFFF:
            name = "cannot understand"
        else:
            name = category(status)
    text = f"{name} (0x{status:04X})"
    return f"{text}: {comment.strip()}" if comment and comment.strip() else text
