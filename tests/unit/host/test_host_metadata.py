from __future__ import annotations

import pytest

from live.metadata_service import INSTANCE, metadata_service
from orthweb.errors import OrthwebError
from orthweb.host import metadata


def test_instance_knows_itself_with_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    with metadata_service() as address:
        monkeypatch.setenv(metadata.ENDPOINT, address)
        assert metadata.read() == metadata.Instance(INSTANCE, "eu-central-1a", "10.83.0.10")


def test_machine_without_the_service_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(metadata.ENDPOINT, "http://127.0.0.1:1")
    with pytest.raises(OrthwebError, match="metadata service does not answer"):
        metadata.read()
