"""Which containers of a host have a way to the instance's credentials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orthweb.errors import OrthwebError
from orthweb.host.routes import METADATA, Routes


@dataclass
class State:
    name: str
    started: str = "1"
    runs: bool = True


class Engine:
    """Remembers which containers lost their way to the metadata service, and which acknowledge at once."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.quick: list[str] = []
        self.fails = False

    def run(self, *words: str) -> str:
        if self.fails:
            raise OrthwebError("docker run: no such container")
        name = words[words.index("--network") + 1].removeprefix("container:")
        script = words[-1]
        if "quickack" in script:
            self.quick.append(name)
        if f"unreachable {METADATA}" in script:
            self.closed.append(name)
        return ""


STATES: Any = {name: State(f"pacs-{name}") for name in ("archive", "edge", "reader")}


def ensure(engine: Any, routes: Routes, states: Any = STATES, *, credentials: bool = True) -> None:
    routes.ensure(engine, "ops:1", states, credentials=credentials)


def test_edge_never_gets_the_instances_credentials() -> None:
    engine = Engine()
    ensure(engine, Routes(print))
    assert (engine.closed, engine.quick) == (["pacs-edge"], ["pacs-edge"])


def test_nobody_gets_them_where_the_archive_has_no_bucket() -> None:
    engine = Engine()
    ensure(engine, Routes(print), credentials=False)
    assert sorted(engine.closed) == ["pacs-archive", "pacs-edge", "pacs-reader"]


def test_routes_are_set_again_for_a_container_that_was_started_again() -> None:
    engine, routes = Engine(), Routes(print)
    for _ in range(3):
        ensure(engine, routes)
    assert engine.closed == ["pacs-edge"]
    ensure(engine, routes, STATES | {"edge": State("pacs-edge", "2")})
    assert engine.closed == ["pacs-edge"] * 2


def test_route_that_could_not_be_set_is_said_and_tried_again() -> None:
    said = list[str]()
    engine, routes = Engine(), Routes(said.append)
    engine.fails = True
    ensure(engine, routes)
    assert said == ["the routes of edge are not set: docker run: no such container"]
    engine.fails = False
    ensure(engine, routes)
    assert engine.closed == ["pacs-edge"]
