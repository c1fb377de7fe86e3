"""Whether a site on AWS can be reached from a person's machine, and what they are told when it cannot."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from orthweb.access import Credentials, SiteAccess
from orthweb.errors import NotRunningError
from orthweb.targets.aws import reaching


def site(host: str, https: int, dicom: int) -> SiteAccess:
    return SiteAccess("clinic", host, https, dicom, "ORTHANC", Path("ca.pem"), Credentials("admin", ""))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_reach_when_the_name_leads_nowhere_then_told_where_it_should_lead() -> None:
    with pytest.raises(NotRunningError, match=r"^pacs\.invalid: this machine does not find") as caught:
        reaching.check_reach(site("pacs.invalid", 443, 11112), "ec2.example.org")
    assert "point to ec2.example.org in DNS" in (caught.value.hint or "")


def test_reach_when_neither_port_answers_then_both_are_named_and_who_may_connect() -> None:
    https, dicom = free_port(), free_port()
    with pytest.raises(NotRunningError, match=f"127.0.0.1:{https}: .*127.0.0.1:{dicom}: ") as caught:
        reaching.check_reach(site("127.0.0.1", https, dicom))
    assert "aws.https_from" in (caught.value.hint or "")


def test_reach_when_one_port_answers_then_nothing_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        reaching.check_reach(site("127.0.0.1", free_port(), server.getsockname()[1]))
