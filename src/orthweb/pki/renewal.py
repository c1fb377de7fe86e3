"""Which certificates are missing or due, and making them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from orthweb.access import CertificatePair
from orthweb.errors import OrthwebError
from orthweb.pki import own, pair
from orthweb.pki.issue import (
    BACKDATE,
    CA_LIFETIME,
    CLIENT,
    RENEW_BEFORE,
    SERVER,
    Identity,
    Leaf,
    PrivateKey,
    certificate_pem,
    general_name,
    key_pem,
    leaf_end,
    names_of,
    new_authority,
    new_leaf,
    usages_of,
)
from orthweb.pki.layout import Change, Pki, paths

if TYPE_CHECKING:
    from orthweb.site import Site

CA_WARNING = timedelta(days=180)
"""A CA with less left than this is a warning: every client has to be told to trust its successor."""


def plan(
    folder: Path, site: Site, base: Path, now: datetime | None = None, renew: bool = False, keep: bool = False
) -> list[Change]:
    """Say what `ensure` would do; changes nothing.

    Parameters
    ----------
    folder : the PKI folder; need not exist.
    base : the folder of the site file.
    now : the time to judge by (aware); the machine's clock by default.
    renew : renew every leaf, due or not; CAs are never renewed.
    keep : list what stays as it is too. Without it a ``keep`` row is a warning: something ends soon that
        orthweb cannot renew.

    Raises
    ------
    SiteFileError : the own certificate cannot be used.
    OrthwebError : a CA is damaged or has ended, the clock is wrong, or the folder may not be read.
    """
    steps = _Survey(folder, site, base, now or datetime.now(UTC), renew).steps()
    return [step.change for step in steps if keep or step.warning or step.change.action != "keep"]


def ensure(folder: Path, site: Site, base: Path, now: datetime | None = None, renew: bool = False) -> list[Change]:
    """Make and renew what `plan` says; the same parameters, results and errors.

    Safe to kill at any point: the next call mends what was half written. Two calls at once are the caller's to prevent.
    """
    now = now or datetime.now(UTC)
    pair.prepare(folder)
    survey = _Survey(folder, site, base, now, renew)
    steps = survey.steps()
    layout = paths(folder, site, base)
    # Authorities are on disk before anything that they sign: a leaf never outlives a kill without its CA.
    authorities: dict[CertificatePair, Identity] = {}
    for files, found in ((layout.site_ca, survey.site_ca), (layout.internal_ca, survey.internal_ca)):
        if found is None:
            authority = new_authority(_label(files, site), now, _orphan_key(files))
            pair.write({files: authority})
        authorities[files] = authority if found is None else found
    made: dict[CertificatePair, Identity] = {}
    others: dict[Path, bytes] = {}
    for step in steps:
        if step.change.action == "keep":
            continue
        if step.role is not None:
            made[step.role.files] = new_leaf(step.role.leaf, authorities[step.role.authority], now)
        elif step.own is not None:
            made[layout.edge[0]] = step.own.identity
            others[layout.trusted_by_clients] = certificate_pem([step.own.root])
    if made:
        pair.write(made, others)
    if site.tls.certificate is None:
        # A key that the site no longer uses does not belong into its state.
        for rest in folder.glob("edge-own*"):
            rest.unlink()
    pair.close_keys(folder.glob("*.key"))
    return [step.change for step in steps if step.warning or step.change.action != "keep"]


def authority(folder: Path, site: Site, base: Path, now: datetime) -> Identity:
    """Read the site CA, for issuing.

    Raises
    ------
    OrthwebError : there is none yet, it is damaged, it has ended, or the clock is wrong.
    """
    files = paths(folder, site, base).site_ca
    found = _read_authority(files, now)
    if found is None:
        raise OrthwebError(f"{files.certificate}: the site has no CA yet", "start the site first: orthweb up")
    return found


@dataclass(frozen=True)
class _Role:
    """A leaf that every site has: what it says, who signs it, where it lies."""

    name: str
    files: CertificatePair
    authority: CertificatePair
    leaf: Leaf


@dataclass(frozen=True)
class _Step:
    """A change and what is needed to make it."""

    change: Change
    role: _Role | None = None
    own: own.OwnCertificate | None = None
    warning: bool = False


def _roles(layout: Pki, site: Site) -> Iterator[_Role]:
    if site.tls.certificate is None:
        for files in layout.edge:
            # ECDSA for speed and new clients, RSA for DICOM toolkits that offer ECDHE-RSA suites alone.
            leaf = Leaf(site.hostname, site.names, (SERVER,), rsa=files.certificate.stem == "edge-rsa")
            yield _Role(files.certificate.stem, files, layout.site_ca, leaf)
    both = (SERVER, CLIENT)
    loopback = ("localhost", "127.0.0.1", "::1")
    for files, ca, names, usages in (
        (layout.archive, layout.internal_ca, ("archive", *loopback), both),
        (layout.edge_internal, layout.internal_ca, ("edge", *loopback), both),
        (layout.index, layout.internal_ca, ("index", *loopback), (SERVER,)),
        (layout.check, layout.site_ca, tuple(dict.fromkeys((*loopback, site.hostname))), both),
    ):
        name = files.certificate.stem
        yield _Role(name, files, ca, Leaf(f"{site.name} {name}", names, usages))


class _Survey:
    """What lies in the folder, judged against what the site needs."""

    def __init__(self, folder: Path, site: Site, base: Path, now: datetime, renew: bool) -> None:
        self.layout = paths(folder, site, base)
        self.site, self.base, self.now, self.renew = site, base, now, renew
        self.site_ca = _read_authority(self.layout.site_ca, now)
        self.internal_ca = _read_authority(self.layout.internal_ca, now)

    def steps(self) -> list[_Step]:
        """List all certificates, CAs first, and what is to happen to each."""
        steps = [
            self._authority_step(self.layout.site_ca, self.site_ca),
            self._authority_step(self.layout.internal_ca, self.internal_ca),
        ]
        if self.site.tls.certificate is not None:
            steps.append(self._own_step())
        steps.extend(self._leaf_step(role) for role in _roles(self.layout, self.site))
        return steps

    def _authority_step(self, files: CertificatePair, found: Identity | None) -> _Step:
        name = files.certificate.stem
        if found is None:
            return _Step(Change(name, "issue", "there is none yet", self.now - BACKDATE + CA_LIFETIME))
        end = found.certificate.not_valid_after_utc
        left = end - self.now
        if left < CA_WARNING:
            return _Step(Change(name, "keep", f"{left.days} days left: {_replacing(files)}", end), warning=True)
        return _Step(Change(name, "keep", f"{left.days} days left", end))

    def _leaf_step(self, role: _Role) -> _Step:
        issuer = self.site_ca if role.authority == self.layout.site_ca else self.internal_ca
        end = leaf_end(self.now, issuer.certificate if issuer else None)
        try:
            found = pair.read(role.files)
        except pair.BrokenPairError as error:
            return _Step(Change(role.name, "renew", str(error), end), role)
        if found is None:
            return _Step(Change(role.name, "issue", "there is none yet", end), role)
        reason = self._why_renew(found, role, issuer, end)
        if reason is not None:
            return _Step(Change(role.name, "renew", reason, end), role)
        end = found.certificate.not_valid_after_utc
        return _Step(Change(role.name, "keep", f"{(end - self.now).days} days left", end), role)

    def _why_renew(self, found: Identity, role: _Role, issuer: Identity | None, new_end: datetime) -> str | None:
        certificate = found.certificate
        end = certificate.not_valid_after_utc
        if issuer is None or not _issued_by(certificate, issuer.certificate):
            return f"another CA signed it than {role.authority.certificate.stem}"
        if {general_name(name) for name in names_of(certificate)} != {general_name(name) for name in role.leaf.names}:
            return f"names changed to {', '.join(role.leaf.names)}"
        if usages_of(certificate) != frozenset(role.leaf.usages):
            return "what it may be used for changed"
        if certificate.not_valid_before_utc > self.now:
            return "it was issued in the future: the clock was wrong then"
        if end <= self.now:
            return f"it ended on {end:%Y-%m-%d}"
        # At the end of a CA's life a new leaf would end no later: renewing again and again would help nobody.
        if end - self.now < RENEW_BEFORE and new_end > end:
            return f"{(end - self.now).days} days left"
        return "asked for" if self.renew else None

    def _own_step(self) -> _Step:
        given = own.load(self.site, self.base, self.now)
        files = self.layout.edge[0]
        left = given.not_after - self.now
        wanted = {
            files.certificate: certificate_pem(given.identity.chain),
            files.key: key_pem(given.identity.key),
            self.layout.trusted_by_clients: certificate_pem([given.root]),
        }
        action: Literal["issue", "renew", "keep"] = "keep"
        reason = f"{left.days} days left"
        if pair.content(files.certificate) is None:
            action, reason = "issue", f"copied from tls.certificate, {reason}"
        elif any(pair.content(path) != data for path, data in wanted.items()):
            action, reason = "renew", f"tls.certificate changed, {reason}"
        soon = left < RENEW_BEFORE
        if soon:
            reason = f"{reason}: replace tls.certificate before {given.not_after:%Y-%m-%d}"
        return _Step(Change(files.certificate.stem, action, reason, given.not_after), own=given, warning=soon)


def _read_authority(files: CertificatePair, now: datetime) -> Identity | None:
    try:
        found = pair.read(files)
    except pair.BrokenPairError as error:
        raise _broken(files, str(error)) from error
    if found is None:
        return None
    certificate = found.certificate
    if not _issued_by(certificate, certificate):
        raise _broken(files, f"{files.certificate.name} is damaged")
    if now < certificate.not_valid_before_utc:
        raise OrthwebError(
            f"this machine's clock is wrong: it says {now:%Y-%m-%d %H:%M} UTC, and the CA {files.certificate.stem} was "
            f"made at {certificate.not_valid_before_utc + BACKDATE:%Y-%m-%d %H:%M} UTC",
            "set the clock (timedatectl set-ntp true), then try again",
        )
    if now > certificate.not_valid_after_utc:
        raise OrthwebError(
            f"{files.certificate}: the CA ended on {certificate.not_valid_after_utc:%Y-%m-%d}, and this machine's "
            f"clock says {now:%Y-%m-%d}",
            f"set the clock if it is wrong, else {_replacing(files)}",
        )
    return found


def _broken(files: CertificatePair, reason: str) -> OrthwebError:
    return OrthwebError(
        f"{files.certificate.parent}: {reason}: the CA {files.certificate.stem} cannot be used",
        f"put both files back from a backup, or {_replacing(files)}",
    )


def _replacing(files: CertificatePair) -> str:
    """Say how a person replaces a CA; orthweb never does so by itself: clients would lose trust without a word."""
    name = files.certificate.stem
    what = f"move {name}.pem and {name}.key out of {files.certificate.parent} and run orthweb up"
    if name == "site-ca":
        return (
            f"{what}: a new CA is made, every client must be told to trust it (orthweb trust), and client certificates "
            "must be issued again"
        )
    return f"{what}: a new CA is made, and nobody outside this site is concerned"


def _orphan_key(files: CertificatePair) -> PrivateKey | None:
    """Keep the key of a CA whose certificate is gone: who trusts the old certificate then trusts the new one too."""
    with suppress(pair.BrokenPairError):
        return pair.read_key(files.key)
    return None


def _label(files: CertificatePair, site: Site) -> str:
    return f"{site.name} {'site CA' if files.certificate.stem == 'site-ca' else 'internal CA'}"


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
