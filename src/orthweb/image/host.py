"""How this machine reaches its package mirrors: read from apt and pip, handed to builder stages."""

from __future__ import annotations

import ast
import os
import platform
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SUITES = ("bookworm", "trixie")
"""Debian's releases that images are built from; the newest is the default."""

ARCHIVE = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
APT = Path("/etc/apt")
SYSTEM_CA = Path("/etc/ssl/certs/ca-certificates.crt")

DEBIAN = {
    *("bullseye", "bookworm", "trixie", "forky", "duke", "sid"),
    *("oldoldstable", "oldstable", "stable", "testing", "unstable"),
}
"""Names by which apt sources mean Debian itself; a mirror that has one of them has the others."""

PROXIES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY")
"""Environment variables that Docker hands to a build without writing them into the image's history."""

APT_SETTINGS = re.compile(
    r"Acquire::(?:https?::(?!.*(?:Detect|CaInfo|CaPath|SslCert|SslKey|Cert))|Check-|Force|Retries)"
)
"""Settings of apt that reach a mirror; not those that name files of this machine."""

PIP_SETTINGS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout")


@dataclass(frozen=True)
class Source:
    """One line of apt's sources (sources.list(5)).

    Parameters
    ----------
    keyring : the file that its signature is checked with, when the source names one.
    trusted : whether it is used without a signature.
    """

    uri: str
    suite: str
    components: tuple[str, ...] = ("main",)
    keyring: Path | None = None
    trusted: bool = False


@dataclass(frozen=True)
class Mirror:
    """Where Debian's packages come from for one suite, the release itself first."""

    suite: str
    sources: tuple[Source, ...]

    @property
    def main(self) -> Source:
        """The release itself."""
        return self.sources[0]


def architecture() -> str:
    """Give Debian's name for this machine's architecture."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def one_line(text: str) -> Iterator[Source]:
    """Read apt's one-line style: ``deb [ option=value ] uri suite component...``."""
    for line in text.splitlines():
        found = re.fullmatch(r"deb\s+(?:\[([^]]*)]\s+)?(\S+)\s+(\S+)((?:\s+[^\s#]+)*)\s*(?:#.*)?", line.strip())
        if found:
            options = dict(word.partition("=")[::2] for word in (found[1] or "").split())
            yield _source(
                found[2], found[3], found[4].split(), options.get("signed-by", ""), options.get("trusted", "")
            )


def deb822(text: str) -> Iterator[Source]:
    """Read apt's deb822 style: stanzas of ``Key: value``, long values folded (deb822(5))."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza.strip())
        keys = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in unfolded.splitlines())
        }
        if "deb" not in keys.get("types", "").split() or keys.get("enabled", "yes").lower() in ("no", "false"):
            continue
        signed, trusted = keys.get("signed-by", ""), keys.get("trusted", "")
        for uri in keys.get("uris", "").split():
            for suite in keys.get("suites", "").split():
                yield _source(uri, suite, keys.get("components", "").split(), signed, trusted)


def _source(uri: str, suite: str, components: Sequence[str], signed_by: str, trusted: str) -> Source:
    # A key may also stand in the source itself, or be named by its fingerprint: then Debian's own keyring is used.
    keyring = Path(signed_by) if signed_by.startswith("/") and " " not in signed_by else None
    return Source(uri.rstrip("/"), suite, tuple(components), keyring, trusted.lower() in ("yes", "true"))


def read_sources(apt: Path = APT) -> list[Source]:
    """Read all of this machine's apt sources."""
    found: list[Source] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        if path.is_file():
            found += one_line(path.read_text(errors="replace"))
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        found += deb822(path.read_text(errors="replace"))
    return found


def mirror(suite: str, uri: str | None, found: Iterable[Source]) -> Mirror:
    """Work out where a suite's packages come from: the mirror that this machine's apt uses for its own suite.

    Parameters
    ----------
    uri : a mirror that the person names, or None.
    found : this machine's sources; of another distribution, or none: Debian's own servers.
    """
    here = [each for each in found if each.uri.startswith(("http://", "https://")) and "main" in each.components]
    kinds: dict[str, Source] = {}
    for each in here:
        base, _, kind = each.suite.replace("/updates", "-security").partition("-")
        if base in DEBIAN and kind in ("", "updates", "security"):
            kinds.setdefault(kind, each)
    if uri is not None:
        kinds[""] = Source(uri.rstrip("/"), suite, keyring=kinds[""].keyring if "" in kinds else None)
        kinds.setdefault("updates", kinds[""])
    elif "" not in kinds:
        kinds = {"": Source(ARCHIVE, suite), "updates": Source(ARCHIVE, suite), "security": Source(SECURITY, suite)}
    chosen = []
    for kind, each in sorted(kinds.items(), key=lambda pair: ("", "updates", "security").index(pair[0])):
        name = f"{suite}-{kind}" if kind else suite
        chosen.append(Source(each.uri, name, ("main",), each.keyring, each.trusted))
    return Mirror(suite, tuple(chosen))


@dataclass(frozen=True)
class Reach:
    """What this machine needs to reach mirrors, besides their addresses.

    Parameters
    ----------
    apt : settings of apt, ``Acquire::http::Proxy`` and the like.
    pip : settings of pip, ``index-url`` and the like.
    ca : the authorities that this machine trusts (PEM), or None where it has no such file.
    """

    apt: Mapping[str, str] = field(default_factory=dict)
    pip: Mapping[str, str] = field(default_factory=dict)
    ca: Path | None = None


def apt_settings(dump: str) -> dict[str, str]:
    """Choose from the output of ``apt-config dump`` what reaches a mirror."""
    lines = re.findall(r'^(\S+) "(.*)";$', dump, re.MULTILINE)
    return {key: value for key, value in lines if value and APT_SETTINGS.match(key)}


def pip_settings(listing: str) -> dict[str, str]:
    """Choose from the output of ``pip config list`` what reaches an index; files of this machine reach no builder."""
    chosen: dict[str, str] = {}
    for key, value in re.findall(r"^\S*?\.([a-z-]+)=(.+)$", listing, re.MULTILINE):
        try:
            text = str(ast.literal_eval(value))
        except (ValueError, SyntaxError):
            continue
        words = [word for word in text.split() if not word.startswith(("file:", "/"))]
        if key in PIP_SETTINGS and words:
            chosen[key] = " ".join(words)
    return chosen


def _said(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout if done.returncode == 0 else ""


def read_reach() -> Reach:
    """Ask apt, pip and the environment how this machine reaches its mirrors."""
    listing = _said(sys.executable, "-m", "pip", "config", "list") or _said("pip3", "config", "list")
    named = re.findall(r"^\S*?\.cert='(.+)'$", listing, re.MULTILINE)
    candidates = [*named, os.environ.get("PIP_CERT"), os.environ.get("SSL_CERT_FILE"), SYSTEM_CA]
    ca = next((Path(each) for each in candidates if each and Path(each).is_file()), None)
    return Reach(apt_settings(_said("apt-config", "dump")), pip_settings(listing), ca)


def tls_context(reach: Reach) -> ssl.SSLContext:
    """Give what this machine verifies servers with."""
    return ssl.create_default_context(cafile=reach.ca)


def proxy(reach: Reach, uri: str) -> str | None:
    """Give apt's proxy for a mirror, where it has one of its own (the environment's is used anyway)."""
    parts = urlsplit(uri)
    for key in (f"Acquire::{parts.scheme}::Proxy::{parts.hostname}", f"Acquire::{parts.scheme}::Proxy"):
        if key in reach.apt:
            return None if reach.apt[key] == "DIRECT" else reach.apt[key]
    return None


def files(found: Mirror, reach: Reach) -> dict[str, bytes]:
    """Give the files of ``image/host`` for a build (see image/host/README.md)."""
    result: dict[str, bytes] = {}
    lines = []
    for number, each in enumerate(found.sources):
        options = ["trusted=yes"] if each.trusted else []
        if each.keyring is not None and each.keyring.is_file():
            name = f"keyrings/{number}-{each.keyring.name}"
            result[name] = each.keyring.read_bytes()
            options.append(f"signed-by=/orthweb/host/{name}")
        prefix = f"deb [{' '.join(options)}]" if options else "deb"
        lines.append(f"{prefix} {each.uri} {each.suite} {' '.join(each.components)}\n")
    result["apt-sources.list"] = "".join(lines).encode()
    apt, pip = dict(reach.apt), dict(reach.pip)
    if reach.ca is not None:
        result["ca.pem"] = reach.ca.read_bytes()
        apt["Acquire::https::CaInfo"] = pip["cert"] = "/orthweb/host/ca.pem"
    result["apt.conf"] = "".join(f'{key} "{value}";\n' for key, value in apt.items()).encode()
    settings = "".join(f"{key} = {value}\n" for key, value in pip.items())
    result["pip.conf"] = f"[global]\n{settings}".encode()
    return result
