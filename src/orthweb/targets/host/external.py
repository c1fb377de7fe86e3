"""An index that is a database of somebody else's server: asked before it is used, and never made, moved or deleted."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509

from orthweb.capabilities import schema
from orthweb.capabilities.build import dotted_version
from orthweb.capabilities.schema import Upgrade
from orthweb.checks.facts import IndexFacts
from orthweb.errors import OrthwebError, SiteFileError
from orthweb.postgresql import APPLICATION, Connection, Login, Server, SignInError, connect, most_connections
from orthweb.render import orthanc
from orthweb.render.endpoints import IndexEndpoint
from orthweb.targets.base import PlanItem
from orthweb.targets.host import folder

if TYPE_CHECKING:
    from orthweb.site import Index
    from orthweb.state import StateFolder
    from orthweb.targets.host.folder import Facts
    from orthweb.targets.host.place import SitePlace

SPARE: Final = 3
"""Connections that others may need at the same time: checks, an administrator."""


def name(index: Index) -> str:
    """Name the database so that it is known again; empty when the site has an index of its own."""
    return f"{index.host}:{index.port}/{index.database}" if index.host is not None else ""


def endpoint(index: Index) -> IndexEndpoint | None:
    """Give where it is; None when the site has an index of its own."""
    if index.host is None:
        return None
    return IndexEndpoint.elsewhere(index.host, index.port, index.database, index.user)


def password(index: Index) -> str:
    """Read the password from the file that the site file names.

    Raises
    ------
    SiteFileError : it cannot be read, is empty, or others may read it.
    """
    assert index.password is not None, "the site's model asks for it"
    problem = _password_problem(index.password)
    if problem is not None:
        raise SiteFileError([f"index.password: {index.password}: {problem}"])
    return index.password.read_text().strip()


def _password_problem(path: Path) -> str | None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text().strip()
    except OSError as error:
        return str(error.strerror)
    except UnicodeDecodeError:
        return "should be one line of text"
    if mode & 0o077:
        return f"mode {mode:04o} lets other users read it: chmod 600 {path}"
    return None if text and text.isprintable() else "should be one line with the password"


def _check_ca(index: Index) -> None:
    assert index.ca is not None, "the site's model asks for it"
    try:
        if x509.load_pem_x509_certificates(index.ca.read_bytes()):
            return
        problem = "should be a certificate (PEM)"
    except OSError as error:
        problem = str(error.strerror)
    except ValueError:
        problem = "should be a certificate (PEM)"
    raise SiteFileError([f"index.ca: {index.ca}: {problem}"])


@contextmanager
def connection(index: Index) -> Iterator[Connection]:
    """Connect as the archive will.

    Raises
    ------
    SiteFileError : name, password or database is wrong.
    OrthwebError : the server does not answer, or cannot prove that it is the one.
    """
    assert index.host is not None
    assert index.ca is not None
    _check_ca(index)
    server = Server(index.host, index.port, index.ca, database=index.database)
    try:
        opened = connect(server, Login(index.user, password(index)))
    except SignInError as error:
        raise SiteFileError([f"index.user: {error.message}"]) from error
    except OrthwebError as error:
        raise OrthwebError(f"index.host: {error.message}", "start that server, or mend [index] in the site file") from (
            error
        )
    with opened:
        yield opened


def check(place: SitePlace, facts: Facts, *, made: bool) -> None:
    """Refuse an index that is not this site's, or cannot serve it.

    Parameters
    ----------
    made : whether the site has made an index of its own.

    Raises
    ------
    SiteFileError, OrthwebError : with the key, and the next step.
    """
    index = place.site.index
    wanted = name(index)
    if facts.index and not wanted:
        raise SiteFileError([f"index.host: is gone; this site's index is {facts.index}: set it again"])
    if wanted and not facts.index and made:
        raise SiteFileError(
            [
                f"index.host: this site's index is its own, in {place.data}, and a change of the server does not move "
                f"it: remove index.host; to move, send the images to a new site (`orthweb dicom send`)"
            ]
        )
    if not wanted:
        return
    with connection(index) as opened:
        _check_budget(place, most_connections(opened))
        if facts.index not in ("", wanted) and schema.read(schema.asking(opened)) is None:
            raise SiteFileError(
                [
                    f"index.host: {wanted} is empty, and this site's index is {facts.index}: copy that there first "
                    "(pg_dump and pg_restore, or restore a snapshot of the server), or set it again"
                ]
            )


def _check_budget(place: SitePlace, most: int) -> None:
    needed = orthanc.connection_budget(place.site, place.archives, place.build)
    if place.site.store.kind == "database":
        needed += len(place.archives)
    if needed + SPARE > most:
        raise SiteFileError(
            [
                f"index.connections: {len(place.archives)} Orthanc processes would keep {needed} connections, and "
                f"{name(place.site.index)} takes {most}: lower index.connections, or raise max_connections there"
            ]
        )


def facts(index: Index) -> dict[str, str]:
    """Say in a site's status where the index is, when it is somebody else's."""
    return {"index": name(index)} if index.host is not None else {}


def index_facts(index: Index, state: StateFolder) -> IndexFacts:
    """Say how the archive reaches an index that is somebody else's."""
    assert index.host is not None
    authority = state.archive / "tls" / "index-ca.pem"
    return IndexFacts(index.host, index.port, index.database, index.user, authority, state.archive / "index-passfile")


def plan(place: SitePlace) -> list[PlanItem]:
    """Say what `up` would change of the index."""
    upgrade = due(place)
    items = renaming(place.site.index, folder.read_facts(place.state))
    return items if upgrade is None else [*items, PlanItem("change", "index", upgrade.words(snapshot=False))]


def renaming(index: Index, facts: Facts) -> list[PlanItem]:
    """Say that the site file names another server than before."""
    if facts.index in ("", name(index)):
        return []
    return [PlanItem("change", "index", f"{facts.index} -> {name(index)}: it must have the same content")]


def due(place: SitePlace) -> Upgrade | None:
    """Say how this site's plugin will change the schema of the database.

    Raises
    ------
    SiteFileError : nobody has said that there is a snapshot of it.
    UsageError : the plugin is older than the schema, which does not go back.
    """
    plugin = place.build.plugin("PostgreSQLIndex")
    last = schema.Memory(place.state.index_plugin).last()
    if plugin is None or last == plugin.version:
        return None
    with connection(place.site.index) as opened:
        found = schema.read(schema.asking(opened))
    upgrade = schema.step(found, place.build, last, [])
    if upgrade is None:
        return None
    version = dotted_version(plugin.version)
    if place.site.index.snapshot_before != version:
        raise SiteFileError(
            [
                f"index.snapshot_before: {plugin} changes the schema of {name(place.site.index)} (revision "
                f"{upgrade.revision}), and there is no way back: take a snapshot of that database (pg_dump, or its "
                f'server\'s own), stop every other Orthanc on it, then set index.snapshot_before = "{version}"'
            ]
        )
    return upgrade


def others(opened: Connection) -> int:
    """Count the connections of others to the database, as far as this user may see them; orthweb's own do not count."""
    row = opened.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name <> %s"
        " AND backend_type = 'client backend'",
        (APPLICATION,),
    ).fetchone()
    return int(row[0]) if row else 0
