"""Which HTTP request goes to which process of the archive: what only reads to the readers, the rest to the writers."""

from __future__ import annotations

from typing import Any

from orthweb.render.envoy_parts import typed
from orthweb.render.envoy_replicas import ARCHIVE, READERS
from orthweb.render.envoy_tls import TYPE

READING = (
    "/dicom-web/(studies|series|instances)(/.*)?|/wado",
    "/(patients|studies|series|instances)(/.*)?",
    "/statistics|/system|/changes|/exports|/app/.*",
)
"""What GET and HEAD read from index and store alone: any process gives the same answer (QIDO-RS, WADO-RS, WADO-URI,
Orthanc's REST API and its Explorer)."""

STABILITY = "/(patients|studies|series)/[^/]+(/(patient|study|studies|series))?/?"
"""Resources whose answer has ``IsStable``: only the process that received them knows it, others say true at once."""

READING_POSTS = "/tools/(find|lookup|count-resources|bulk-content)/?"
"""Questions with a body."""

UPLOAD, STOW = "/instances/?", "/dicom-web/studies(/[^/]+)?/?"
"""Where images come in (Orthanc's REST API; STOW-RS, PS3.18 10.5): each request goes to the writer with the least to
do, whoever answered the one before."""

SESSION = "orthweb-archive"
"""Name of the cookie that says which writer answered: jobs and queries live in the process that started them."""

SESSION_HEADER = "x-orthweb-archive"
"""The same for clients without cookies: they send the header of the answer with the next request."""

FILTERS = ("session_cookie", "session_header")


def session_filters() -> list[dict[str, Any]]:
    """Give the HTTP filters that bring a client back to the writer that answered it before."""
    state = "extensions.http.stateful_session"
    cookie = {
        "name": SESSION,
        "path": "/",
        "attributes": [{"name": "Secure"}, {"name": "SameSite", "value": "Strict"}],
    }
    header = {"@type": f"{TYPE}.{state}.header.v3.HeaderBasedSessionState", "name": SESSION_HEADER}
    states = (
        typed("envoy.http.stateful_session.cookie", f"{state}.cookie.v3.CookieBasedSessionState", cookie=cookie),
        {"name": "envoy.http.stateful_session.header", "typed_config": header},
    )
    kind = "extensions.filters.http.stateful_session.v3.StatefulSession"
    return [typed(name, kind, session_state=each) for name, each in zip(FILTERS, states, strict=True)]


def anywhere() -> dict[str, Any]:
    """Give the settings of a route on which no client is brought back to anybody (typed_per_filter_config)."""
    return {name: {"@type": f"{TYPE}.config.route.v3.FilterConfig", "disabled": True} for name in FILTERS}


def answer(name: str) -> dict[str, Any]:
    """Give the settings of a route whose answers go through one of the edge's scripts (typed_per_filter_config)."""
    return {"answer": {"@type": f"{TYPE}.extensions.filters.http.lua.v3.LuaPerRoute", "name": name}}


def _method(*names: str) -> list[dict[str, Any]]:
    return [{"name": ":method", "string_match": {"safe_regex": {"regex": "|".join(names)}}}]


def to_archive(match: dict[str, Any], cluster: str = ARCHIVE, *, sticky: bool = False) -> dict[str, Any]:
    """Give a route to a cluster of the archive's processes; `sticky` brings a client back to the same one."""
    # What only reads may be asked again when a process dies before it has answered.
    reads = cluster == READERS
    retry_on = "reset,retriable-status-codes" if reads else "reset-before-request"
    previous = "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    retry: dict[str, Any] = {
        "retry_on": f"{retry_on},connect-failure,refused-stream",
        "num_retries": 10 if reads else 5,
        "retry_host_predicate": [typed("envoy.retry_host_predicates.previous_hosts", previous)],
        # Until it is found dead, a dead process is the one with the least to do: chosen again and again.
        "host_selection_retry_max_attempts": 20,
    }
    if reads:
        # After a restart of the index each of a reader's connections to it fails once, and Orthanc says 503.
        retry["retriable_status_codes"] = [503]
        # After two readers in vain, a writer.
        priorities = "extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"
        retry["retry_priority"] = typed("envoy.retry_priorities.previous_priorities", priorities, update_frequency=2)
    # No limit on the whole: 2 GB over a slow line take their time. Silence is limited by the stream's idle timeout.
    route = {"match": match, "route": {"cluster": cluster, "timeout": "0s", "retry_policy": retry}}
    return route if sticky else route | {"typed_per_filter_config": anywhere()}


def routes(*, readers: bool) -> list[dict[str, Any]]:
    """Give the routes of all that is allowed, the catch-all last.

    What is not known to be read-only goes to the writers: in a reader it would fail, or start a job that nobody finds.
    """
    found = []
    if readers:
        get = _method("GET", "HEAD")
        found = [
            to_archive({"safe_regex": {"regex": STABILITY}, "headers": get}),
            *(to_archive({"safe_regex": {"regex": regex}, "headers": get}, READERS) for regex in READING),
            to_archive({"safe_regex": {"regex": READING_POSTS}, "headers": _method("POST")}, READERS),
        ]
    upload, stow = (
        to_archive({"safe_regex": {"regex": regex}, "headers": _method("POST")}) for regex in (UPLOAD, STOW)
    )
    upload["typed_per_filter_config"] |= answer("upload")
    stow["typed_per_filter_config"] |= answer("stow")
    return [*found, upload, stow, to_archive({"prefix": "/"}, sticky=True)]
