"""Certificates that have ended or begin tomorrow, and a clock that is wrong."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from live.counting import answers, eventually
from live.sites import LiveSite, live_site
from orthweb import pki
from orthweb.dicom.association import associate
from orthweb.dicom.peer import Peer
from orthweb.targets.host import accounts
from orthweb.targets.host.deployment import Bundle

DAY = timedelta(days=1)
LEAVES = ("edge-ecdsa", "edge-rsa", "archive", "edge-internal", "index", "check")


@pytest.fixture(scope="module")
def shared() -> Iterator[LiveSite]:
    with live_site() as made:
        yield made


@pytest.fixture
def stopped(shared: LiveSite) -> LiveSite:
    shared.orthweb("down")
    return shared


def made_at(site: LiveSite, moment: datetime) -> None:
    """Give the site a PKI that was made at another time."""
    shutil.rmtree(site.state / "pki")
    (site.state / "pki").mkdir(mode=0o700)
    pki.ensure(site.state / "pki", site.target.place.site, site.folder, now=moment)


def shown(site: LiveSite) -> str:
    """Give the serial number of the certificate that the edge shows."""
    context = ssl.create_default_context(cafile=str(site.access.ca))
    with (
        socket.create_connection((site.access.host, site.access.dicom_port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname=site.access.host) as connection,
    ):
        certificate = connection.getpeercert()
        assert certificate is not None
        return str(certificate["serialNumber"])


def test_ended_certificates_when_up_is_called_then_all_are_renewed_and_the_site_answers(stopped: LiveSite) -> None:
    made_at(stopped, datetime.now(UTC) - 100 * DAY)
    plan = stopped.orthweb("plan").stdout
    for name in LEAVES:
        assert f"renew certificate {name}" in plan
    assert "it ended on" in plan
    stopped.orthweb("up")
    assert answers(stopped)


def test_ended_certificates_of_a_running_site_then_status_says_so_and_renew_mends_it(stopped: LiveSite) -> None:
    made_at(stopped, datetime.now(UTC) - 100 * DAY)
    stopped.orthweb("up")
    # As if the site had run for months without `up` or `renew`: the edge shows what has ended.
    place = stopped.target.place
    pki.ensure(stopped.state / "pki", place.site, stopped.folder, now=datetime.now(UTC) - 95 * DAY, renew=True)
    users = accounts.find()
    for item in place.files(place.layout(), users):
        if isinstance(item, Bundle):
            item.put(users.of(item.service))
    eventually(lambda: not answers(stopped), 10, "ready with a certificate that has ended")
    said = stopped.orthweb("status", check=False)
    assert said.returncode == 1
    assert "expired" in said.stdout
    stopped.orthweb("certificates", "renew")
    assert answers(stopped)


def test_renew_while_an_association_is_open_then_it_goes_on_and_the_next_one_sees_the_new_certificate(
    shared: LiveSite,
) -> None:
    shared.orthweb("up")
    before = shown(shared)
    with associate(Peer.of_site(shared.access), [build_context(Verification)]) as association:
        assert association.send_c_echo().Status == 0
        shared.orthweb("certificates", "renew")
        assert association.send_c_echo().Status == 0
        assert shown(shared) != before
        assert association.send_c_echo().Status == 0
    assert answers(shared)


def test_certificates_of_the_future_then_up_renews_them_and_says_why(stopped: LiveSite) -> None:
    place = stopped.target.place
    pki.ensure(stopped.state / "pki", place.site, stopped.folder, now=datetime.now(UTC) + 2 * DAY, renew=True)
    assert "the clock was wrong then" in stopped.orthweb("up").stdout
    assert answers(stopped)


def test_clock_that_is_behind_then_up_refuses_and_names_both_times(stopped: LiveSite) -> None:
    # A machine whose clock says three days less than when the CA was made.
    made_at(stopped, datetime.now(UTC) + 3 * DAY)
    for verb in ("plan", "up"):
        said = stopped.orthweb(verb, check=False)
        assert said.returncode == 1
        assert "this machine's clock is wrong: it says" in said.stderr
        assert "set the clock" in said.stderr
    assert not stopped.target.running()
    shutil.rmtree(stopped.state / "pki")
    stopped.orthweb("up")


def test_clock_that_is_far_ahead_then_up_refuses_instead_of_replacing_the_ca(stopped: LiveSite) -> None:
    made_at(stopped, datetime.now(UTC) - 40 * 365 * DAY)
    said = stopped.orthweb("up", check=False)
    assert said.returncode == 1
    assert "the CA ended on" in said.stderr
    assert "set the clock if it is wrong" in said.stderr
    assert not stopped.target.running()
