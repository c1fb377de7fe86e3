"""Move a site's images from one kind of store to another while the site runs.

Everything is copied and verified first, without stopping anything. Then the archive stops for as long as it takes to
copy what came meanwhile, the site remembers its new store, and comes up with it. What was killed goes on when it is
called again; until the site remembers the new store the old one is the one that counts, and is not changed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from orthweb.errors import BusyError, NotRunningError, OrthwebError, SiteFileError, UsageError
from orthweb.store.attachment import Backend, StoredObject
from orthweb.store.check import BATCH
from orthweb.store.index import Index
from orthweb.store.journal import Journal
from orthweb.store.ownership import assure
from orthweb.store.site import Kind, Stored, StoreHost, index_facts, kind_and_folder, name_of, open_store
from orthweb.store.transfer import Losses, Pass, Progress, Transfer, incomplete

if TYPE_CHECKING:
    from orthweb.targets.base import Report

JOURNAL: Final = "store-migration.sqlite"
LOCK: Final = "store-migration.lock"
FEW: Final = 100
"""So many files or fewer are left to be copied when the archive is stopped..."""

PASSES: Final = 5
"""...or this often everything was walked over: a site may take images in as quickly as they are copied."""


@dataclass
class Migrated:
    """What a migration did.

    Parameters
    ----------
    copied, bytes : files copied by this call.
    verified : files of the index that are in the new store.
    switched : whether this call switched the site to the new store.
    deleted, left : files deleted at the source, and files left there because they were never copied.
    kept : where the source still is; empty when it was deleted or there is none.
    """

    source: str
    destination: str
    copied: int = 0
    bytes: int = 0
    verified: int = 0
    switched: bool = False
    left_over: int = 0
    deleted: int = 0
    left: int = 0
    kept: str = ""
    losses: Losses = field(default_factory=Losses)

    def document(self) -> dict[str, Any]:
        """Give it as JSON has it."""
        losses = self.losses
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        found["losses"] = {
            "missing": losses.missing,
            "damaged": losses.damaged,
            "examples": [
                {"uuid": uuid, "problem": problem, "study": study} for uuid, problem, study in losses.examples
            ],
            "studies": [{"study": study or None, "files": count} for study, count in losses.studies.most_common()],
        }
        return found


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Parameters
    ----------
    to : the kind of store that the images shall be in.
    delete_source : whether to delete every file of the old store whose copy is verified, at the end.
    accept_losses : whether to go on although files are missing or damaged in the source already.
    """

    to: Kind
    delete_source: bool = False
    accept_losses: bool = False


def migrate(
    host: StoreHost, wish: Wish, report: Report, progress: Callable[[str], Progress] = lambda _: lambda *_: None
) -> Migrated:
    """Move the images to the store that the site file names.

    Parameters
    ----------
    progress : function of what is being done; gives what is told how far it is.

    Raises
    ------
    SiteFileError : the site file names another store.
    UsageError : there is nothing to move.
    OrthwebError : files are missing or damaged, a store or the index does not answer; the site goes on as it was.
    """
    site = host.site
    if site.store.kind != wish.to:
        problem = f'store.kind: is {site.store.kind}; set it to "{wish.to}" first, and its keys, then repeat'
        raise SiteFileError([problem])
    with _alone(host.state.root / LOCK), ExitStack() as opened:
        now = host.stored()
        if now.kind == wish.to:
            return _finish(host, wish, now, report, opened)
        facts = index_facts(host)
        source = open_store(now.kind, site, facts, now.folder)
        opened.callback(source.close)
        assure(source, now, site)
        folder = host.prepare_store()
        destination = open_store(wish.to, site, facts, folder)
        opened.callback(destination.close)
        names = name_of(now.kind, site, now.folder), name_of(wish.to, site, folder)
        journal = Journal(host.state.root / JOURNAL, *names)
        opened.callback(journal.close)
        done = Migrated(source.place, destination.place)
        running = host.running()
        if running:
            index = Index(facts)
            try:
                _while_running(done, wish, Transfer(index, source, destination, journal), progress)
            finally:
                index.close()
        with host.quiesced(report):
            index = Index(facts)
            try:
                last = Transfer(index, source, destination, journal).run(progress("copying the rest"))
                _take(done, last, wish)
                _prove(index, destination, journal, last)
            finally:
                index.close()
            journal.commit()
            host.remember_store(wish.to)
            done.switched = True
        if running or wish.delete_source:
            host.up(report)
        if wish.delete_source:
            _delete_source(host, done, source, destination, journal, report)
        else:
            done.kept = source.place
        return done


def _while_running(done: Migrated, wish: Wish, transfer: Transfer, progress: Callable[[str], Progress]) -> None:
    for number in range(1, PASSES + 1):
        what = "copying" if number == 1 else f"copying what came meanwhile ({number})"
        walked = transfer.run(progress(what))
        _take(done, walked, wish)
        if walked.copied <= FEW:
            return


def _take(done: Migrated, walked: Pass, wish: Wish) -> None:
    done.copied += walked.copied
    done.bytes += walked.bytes
    done.verified = walked.copied + walked.kept
    done.left_over = walked.left_over
    done.losses = walked.losses
    if walked.losses and not wish.accept_losses:
        raise LossError(walked.losses)


class LossError(OrthwebError):
    """Files are missing or damaged in the source."""

    def __init__(self, losses: Losses) -> None:
        studies = [f"  study {study or '(of a patient)'}: {count}" for study, count in losses.studies.most_common(20)]
        if len(losses.studies) > len(studies):
            studies.append(f"  and {len(losses.studies) - len(studies)} more studies")
        super().__init__(
            f"{losses.missing} files are missing and {losses.damaged} are damaged in the old store; the site goes on"
            " with it:\n" + "\n".join(studies),
            "`orthweb store check --contents` lists them; restore them or delete those instances, or repeat with"
            " --accept-losses to leave them behind",
        )
        self.losses = losses


def _prove(index: Index, destination: Backend, journal: Journal, last: Pass) -> None:
    missing = incomplete(index, destination, journal) - last.losses.missing
    if missing > 0:
        raise OrthwebError(
            f"{destination.place}: {missing} files that were copied are not there", "nothing was switched; repeat"
        )


def _finish(host: StoreHost, wish: Wish, now: Stored, report: Report, opened: ExitStack) -> Migrated:
    """Do what is left once the site remembers its new store."""
    site, path = host.site, host.state.root / JOURNAL
    destination_name = name_of(now.kind, site, now.folder)
    places = Journal.places(path)
    if places is None or places[1] != destination_name:
        raise UsageError(f"nothing to move: this site's images are in the store {wish.to} already")
    old = kind_and_folder(places[0])
    if name_of(old.kind, site, old.folder) != places[0]:
        raise UsageError(
            f"s3.bucket: the images came from {places[0].removeprefix('s3 ')}", "name that bucket to have it cleared"
        )
    host.up(report)
    facts = index_facts(host)
    source, destination = open_store(old.kind, site, facts, old.folder), open_store(now.kind, site, facts, now.folder)
    opened.callback(source.close)
    opened.callback(destination.close)
    done = Migrated(source.place, destination.place)
    if not wish.delete_source:
        done.kept = source.place
        return done
    journal = Journal(path, *places)
    opened.callback(journal.close)
    _delete_source(host, done, source, destination, journal, report)
    return done


def _delete_source(
    host: StoreHost, done: Migrated, source: Backend, destination: Backend, journal: Journal, report: Report
) -> None:
    """Delete what was copied, each file once more after a look at its copy; what was never copied stays."""
    assure(source, replace(host.stored(), bucket=""), host.site)
    report(f"deleting the copied files in {source.place}")
    index = Index(index_facts(host))
    doubtful: list[StoredObject] = []

    def settle() -> None:
        """Delete what people have deleted since the switch; what the new store has lost stays."""
        known = index.known([item.uuid for item in doubtful])
        for item in doubtful:
            if item.uuid in known:
                done.left += 1
            else:
                source.remove(item.uuid, item.type or 0)
                done.deleted += 1
        doubtful.clear()

    try:
        for item in source.listing():
            if not journal.has(item.uuid):
                done.left += 1
            elif any(destination.size(item.uuid, kind) == item.size for kind in _types(item.type)):
                source.remove(item.uuid, item.type or 0)
                done.deleted += 1
            else:
                doubtful.append(item)
                if len(doubtful) >= BATCH:
                    settle()
        settle()
    finally:
        index.close()
    source.prune()
    if done.left:
        done.kept = source.place
    else:
        journal.delete()


def _types(file_type: int | None) -> tuple[int, ...]:
    return (1, 3, 2, 0) if file_type is None else (file_type,)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only migration; the lock ends with the process.

    Raises
    ------
    BusyError : another one is at work.
    """
    if not path.parent.exists():
        raise NotRunningError("there is no site here yet", "orthweb up")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BusyError("another migration of this site is at work", "wait until it has finished") from None
        yield
    finally:
        os.close(descriptor)
