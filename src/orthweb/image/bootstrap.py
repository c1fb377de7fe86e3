"""A base image from a Debian mirror alone, for where there is no registry: debootstrap, kept between builds."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orthweb.errors import OrthwebError, UsageError
from orthweb.image import host
from orthweb.image.engine import Engine

if TYPE_CHECKING:
    from collections.abc import Sequence

REFERENCE = "orthweb/base"
SCRIPTS = Path("/usr/share/debootstrap/scripts")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PATHS = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

# Packages and lists are fetched anew in a build; they only make the base larger.
LEFT_OUT = ("./var/cache/apt/archives/*.deb", "./var/lib/apt/lists/*", "./debootstrap", "./var/log/*.log")


class MirrorState:
    """What a mirror has at this moment.

    Parameters
    ----------
    releases : the InRelease files (signed) of the release, its updates and its security updates.
    """

    def __init__(self, releases: Sequence[str]) -> None:
        self.releases = releases

    @property
    def digest(self) -> str:
        """Another digest means other packages."""
        return hashlib.sha256("\0".join(self.releases).encode()).hexdigest()[:16]

    @property
    def base_digest(self) -> str:
        """The same for the release alone, which changes with a point release: what a base is made from."""
        return hashlib.sha256(self.releases[0].encode()).hexdigest()[:16]

    @property
    def epoch(self) -> int:
        """When the mirror's newest part was published (seconds since 1970)."""
        dates = [re.search(r"^Date: (.+)$", text, re.MULTILINE) for text in self.releases]
        return max((int(parsedate_to_datetime(found[1]).timestamp()) for found in dates if found), default=0)


def look(mirror: host.Mirror, reach: host.Reach) -> MirrorState:
    """Read a mirror's state.

    Raises
    ------
    OrthwebError : it cannot be reached, or has no such suite.
    """
    import httpx

    releases = []
    for source in mirror.sources:
        url = f"{source.uri}/dists/{source.suite}/InRelease"
        try:
            answer = httpx.get(
                url,
                follow_redirects=True,
                timeout=30,
                verify=host.tls_context(reach),
                proxy=host.proxy(reach, source.uri),
            )
        except httpx.HTTPError as error:
            raise OrthwebError(
                f"{source.uri}: the Debian mirror cannot be reached: {error}",
                "check the network and apt's sources, or name a mirror: --mirror URL",
            ) from error
        if answer.status_code != 200:
            raise OrthwebError(
                f"{url}: HTTP status {answer.status_code}", f"name a mirror that has {source.suite}: --mirror URL"
            )
        releases.append(answer.text)
    return MirrorState(releases)


def cache() -> Path:
    """Give the folder where bases are kept (XDG base directory specification)."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home and Path(home).is_absolute() else Path.home() / ".cache") / "orthweb" / "base"


def base(
    mirror: host.Mirror, reach: host.Reach, state: MirrorState, engine: Engine, report: Callable[[str], None]
) -> str:
    """Give the engine a base image made from a mirror, and its reference.

    It is made once for each state of the suite; a tar file of it is kept in the user's cache folder.

    Raises
    ------
    UsageError : not root, or no debootstrap here.
    OrthwebError : debootstrap failed.
    """
    reference = f"{REFERENCE}:{_name(mirror, state)}"
    if engine.image(reference) is not None:
        return reference
    kept = rootfs(mirror, reach, state, report)
    report("base: handing it to the engine")
    engine.load(kept, reference)
    return reference


def _name(mirror: host.Mirror, state: MirrorState) -> str:
    return f"{mirror.suite}-{host.architecture()}-{state.base_digest}"


def rootfs(mirror: host.Mirror, reach: host.Reach, state: MirrorState, report: Callable[[str], None]) -> Path:
    """Give the tar file of a minimal Debian that is kept for a state of the suite; make it where there is none.

    Raises
    ------
    UsageError : not root, or no debootstrap here.
    OrthwebError : debootstrap failed.
    """
    kept = cache() / f"{_name(mirror, state)}.tar"
    if not kept.is_file():
        make(mirror, reach, kept, report)
        for other in kept.parent.glob(f"{mirror.suite}-{host.architecture()}-*.tar"):
            if other != kept:
                other.unlink()
    return kept


def make(mirror: host.Mirror, reach: host.Reach, rootfs: Path, report: Callable[[str], None]) -> None:
    """Make a minimal Debian from a mirror, as a tar file (whole or not at all)."""
    program = shutil.which("debootstrap", path=PATHS)
    if os.geteuid() != 0:
        raise UsageError(
            "making a base (debootstrap) needs root", "call this as root, or name a base: --base REFERENCE"
        )
    if program is None:
        raise UsageError(
            "there is no debootstrap on this machine", "apt-get install --no-install-recommends debootstrap"
        )
    if not (SCRIPTS / mirror.suite).exists():
        raise UsageError(f"--suite: {mirror.suite}: this machine's debootstrap does not know it", "a newer debootstrap")
    rootfs.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=rootfs.parent) as place:
        folder = Path(place) / "root"
        _debootstrap(command(program, mirror, folder), reach, mirror, report)
        report("base: packing it")
        part = Path(place) / "base.tar"
        left_out = [f"--exclude={each}" for each in LEFT_OUT]
        tar = ["tar", "--create", "--file", str(part), "--directory", str(folder), "--numeric-owner", "--sort=name"]
        done = subprocess.run([*tar, *left_out, "."], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OrthwebError(f"{rootfs}: {done.stderr.strip()}")
        part.replace(rootfs)


def command(program: str, mirror: host.Mirror, folder: Path) -> list[str]:
    """Give the debootstrap command, in a mount namespace of its own: nothing stays mounted, however it ends."""
    source = mirror.main
    if source.trusted:
        signature = ["--no-check-gpg"]
    else:
        signature = ["--force-check-gpg", f"--keyring={source.keyring or KEYRING}"]
    options = ["--variant=minbase", f"--arch={host.architecture()}", *signature]
    return ["unshare", "--mount", program, *options, mirror.suite, str(folder), source.uri]


def _debootstrap(words: list[str], reach: host.Reach, mirror: host.Mirror, report: Callable[[str], None]) -> None:
    environment = {**os.environ, "PATH": PATHS, "LC_ALL": "C.UTF-8"}
    found = host.proxy(reach, mirror.main.uri)
    if found is not None:
        environment |= {"http_proxy": found, "https_proxy": found}
    last: deque[str] = deque(maxlen=5)
    stage, number = "", 0
    with subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                said = re.match(r"I: (Retrieving|Validating|Extracting|Unpacking|Configuring)", line)
                if said is None:
                    last.append(line.strip())
                    continue
                number = number + 1 if said[1] == stage else 1
                if said[1] != stage or number % 25 == 0:
                    report(f"base: {said[1].lower()} packages ({number})")
                stage = said[1]
        except BaseException:
            process.terminate()
            raise
    if process.returncode != 0:
        raise OrthwebError(f"debootstrap {mirror.suite} from {mirror.main.uri} failed:\n" + "\n".join(last))
