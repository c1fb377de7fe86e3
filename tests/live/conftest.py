"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from live.docker_engine import docker_engine, docker_host, images
from live.sites import LiveSite, live_site

__all__ = ["docker_engine", "docker_host", "images"]


@pytest.fixture(scope="session")
def site() -> Iterator[LiveSite]:
    """One running site with default settings, shared by all tests that leave it as they found it."""
    with live_site() as made:
        yield made


@pytest.fixture
def own_site() -> Iterator[LiveSite]:
    """A running site of the test's own, to break."""
    with live_site() as made:
        yield made


@pytest.fixture
def new_site() -> Iterator[LiveSite]:
    """A site of the test's own that was never brought up."""
    with live_site(up=False) as made:
        yield made
