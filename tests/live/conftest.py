"""Fixtures for tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from live.s3_server import S3Server, s3_server
from live.sites import LiveSite, live_site

BUILD_SECONDS = 1200
"""How long the first test that needs the container images may take: they are built for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that need the images the time to build them."""
    for item in items:
        if "images" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(BUILD_SECONDS))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what a module's tests share."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def s3(folder: Path) -> Iterator[S3Server]:
    """A server that speaks S3, with an empty bucket, shared by a module's tests."""
    with s3_server(folder) as made:
        yield made


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
