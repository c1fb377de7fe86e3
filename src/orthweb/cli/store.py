"""``orthweb store``: compare the files with the index, remove orphans, and move all files to another kind of store."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orthweb.cli import console
from orthweb.errors import OrthwebError, UsageError

if TYPE_CHECKING:
    from orthweb.store.check import Result
    from orthweb.store.migration import Migrated
    from orthweb.store.orphans import Removed
    from orthweb.store.site import Kind, StoreHost
    from orthweb.targets.base import Report

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(\d{1,9})(s|min|h|d)")

SAFE_AGE = 60.0
"""Seconds; younger orphans are never removed: an instance may be about to be indexed."""

FEW = 10
"""So many orphans are removed however small the store is."""

PERIOD = 5.0
"""Seconds between two lines of progress where nobody watches."""

WORDS = {"missing": "missing", "size": "wrong size", "hash": "wrong hash", "orphan": "orphaned"}


def register(app: typer.Typer) -> None:
    """Add the group to the program."""
    store = typer.Typer(name="store", help="The DICOM files: compare them with the index, move them.")
    store.command()(check)
    store.command()(migrate)
    app.add_typer(store)


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise UsageError(f"--older-than: {text}: should be a number with s, min, h or d, such as 90min")
    return float(found[1]) * _UNITS[found[2]]


def _host() -> StoreHost:
    """Open the site.

    Raises
    ------
    UsageError : its target cannot do this.
    """
    from orthweb.store.site import StoreHost
    from orthweb.targets import open_site

    target = open_site(console.settings.site_file)
    if not isinstance(target, StoreHost):
        raise UsageError(
            "target: this one cannot look at its store", "run it where the site runs (on AWS: docs/aws.md)"
        )
    return target


def check(
    contents: Annotated[
        bool, typer.Option("--contents", "--hash", help="Read every file too and compare its MD5 with the index.")
    ] = False,
    older_than: Annotated[
        str, typer.Option(help="Only files older than this can be orphans: a number with s, min, h or d.")
    ] = "1h",
    repair: Annotated[bool, typer.Option("--repair", help="Remove orphans, after showing them and asking.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --repair: do not ask.")] = False,
    many: Annotated[
        bool, typer.Option("--many", help="With --repair: also when more than a tenth of all files are orphans.")
    ] = False,
    limit: Annotated[int, typer.Option(min=0, help="How many files of each kind are named.")] = 20,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Compare index and store: which files are missing, orphaned, of the wrong size or, with --contents, changed.

    Nothing is changed without --repair, which removes orphans alone. Exit code 1 when a file is missing or wrong.
    """
    from orthweb.store.check import Check, Options
    from orthweb.store.index import Index
    from orthweb.store.orphans import Orphans, remove
    from orthweb.store.ownership import assure
    from orthweb.store.site import index_facts, open_store

    options = Options(contents, _seconds(older_than), limit)
    if repair and options.minimum_age < SAFE_AGE:
        raise UsageError(
            f"--older-than: {older_than}: should be 1min or more with --repair",
            "a younger file may belong to an instance that is being stored just now",
        )
    if (yes or many) and not repair:
        raise UsageError(f"--{'yes' if yes else 'many'}: is only for --repair")
    host = _host()
    stored, facts = host.stored(), index_facts(host)
    backend = open_store(stored.kind, host.site, facts, stored.folder)
    index = Index(facts)
    removed: Removed | None = None
    try:
        assure(backend, stored, host.site, before_deletion=repair)
        with Orphans() as orphans:
            with _progress() as (begin, _):
                show = begin("comparing")
                result = Check(index, backend, options, orphans.add if repair else None).run(
                    lambda done, count: show(done, count, 0)
                )
            if not json:
                _print(result, repair=repair)
            if repair and not many:
                refuse_many(orphans.count, result.stored)
            if repair and orphans.count and _wanted(orphans.count, orphans.bytes, yes=yes):
                assure(backend, stored, host.site, before_deletion=True)  # a person may have thought for long
                removed = remove(orphans, index, backend)
    finally:
        index.close()
        backend.close()
    if json:
        console.facts(_document(result, removed))
    elif removed is not None:
        kept = f"; {removed.kept} belong to the index by now and stay" if removed.kept else ""
        console.out(f"Removed {console.count(removed.count, 'orphan')}, {console.size(removed.bytes)}{kept}.")
    if not result.intact:
        raise typer.Exit(1)


def refuse_many(orphans: int, stored: int) -> None:
    """Refuse to remove so much that something else is probably wrong.

    Raises
    ------
    OrthwebError : more than a tenth of the store, and more than a few files.
    """
    if orphans > max(FEW, stored // 10):
        raise OrthwebError(
            f"{orphans} of {stored} files are orphans; nothing was removed",
            "was the index restored from an older backup, or does another site keep its files there? Add --many if not",
        )


def _wanted(count: int, size: int, *, yes: bool) -> bool:
    if yes:
        return True
    if not console.is_interactive():
        console.note("Nothing was removed: there is nobody to ask. Add --yes to remove what is orphaned.")
        return False
    text = f"Remove {console.count(count, 'orphan')}, {console.size(size)}? They cannot be brought back."
    return typer.confirm(text, err=True)


def _document(result: Result, removed: Removed | None) -> dict[str, Any]:
    return {
        "store": result.place,
        "intact": result.intact,
        "indexed": result.indexed,
        "stored": result.stored,
        "bytes": result.bytes,
        "missing": result.counts["missing"],
        "wrong_size": result.counts["size"],
        "wrong_hash": result.counts["hash"],
        "orphaned": result.counts["orphan"],
        "orphaned_bytes": result.orphan_bytes,
        "young": result.young,
        "foreign": result.foreign,
        "hashed": result.hashed,
        "without_hash": result.unhashed,
        "seconds": round(result.seconds, 3),
        "findings": [asdict(finding) for finding in result.findings],
        "studies": [{"study": study or None, "files": count} for study, count in result.studies.most_common()],
        "removed": asdict(removed) if removed is not None else None,
    }


def _print(result: Result, *, repair: bool) -> None:
    console.out(f"{result.place}: {result.stored} files, {console.size(result.bytes)}; index: {result.indexed} files")
    rows = [(word, str(result.counts[kind])) for kind, word in WORDS.items() if kind != "hash"]  # type: ignore[index]
    if result.hashed:
        rows.append((WORDS["hash"], str(result.counts["hash"])))
    rows += [("too young to judge", str(result.young)), ("not ours", str(result.foreign))]
    console.table(("what", "files"), rows)
    if result.unhashed:
        console.out(f"The index has no MD5 of {console.count(result.unhashed, 'file')}: their size alone was compared.")
    if result.findings:
        console.out()
        found = [
            (WORDS[item.kind], item.uuid, item.type or "", item.detail, item.study or "") for item in result.findings
        ]
        console.table(("what", "file", "type", "detail", "study"), found)
        more = sum(result.counts.values()) - len(result.findings)
        if more:
            console.out(f"and {more} more: --limit shows more, --json all studies")
    if result.studies:
        console.out()
        shown = [(study or "(files of patients)", str(count)) for study, count in result.studies.most_common(20)]
        console.table(("study that lost files", "files"), shown)
        if len(result.studies) > len(shown):
            console.out(f"and {len(result.studies) - len(shown)} more studies: --json has all")
        console.note("  next: restore these files from a backup, or send the studies again and delete what is broken")
    if result.counts["orphan"] and not repair:
        console.note("  next: `orthweb store check --repair` removes orphans")
    console.out(f"{'intact' if result.intact else 'NOT INTACT'} ({result.seconds:.1f} s)")


def migrate(
    to: Annotated[str, typer.Option(help="filesystem, s3 or database: what store.kind of the site file says.")],
    delete_source: Annotated[
        bool, typer.Option("--delete-source", help="At the end, delete every file whose copy was verified.")
    ] = False,
    accept_losses: Annotated[
        bool, typer.Option("--accept-losses", help="Go on although files are missing or damaged already.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Move all files to the store that the site file names by now, while the site runs.

    Each copy is verified. What was interrupted goes on when it is called again. The old store is kept, unless
    --delete-source is given, now or in a later call.
    """
    from orthweb.store.migration import Wish, migrate
    from orthweb.store.site import KINDS

    kind: Kind | None = next((each for each in KINDS if each == to), None)
    if kind is None:
        raise UsageError(f"--to: {to}: should be {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    with _progress() as (begin, say):
        done = migrate(_host(), Wish(kind, delete_source, accept_losses), say, begin)
    if json:
        console.facts(done.document())
    else:
        _conclude(done)


def _conclude(done: Migrated) -> None:
    if done.switched:
        console.out(
            f"The images are in {done.destination} now: {done.verified} files verified,"
            f" {done.copied} of them copied by this call ({console.size(done.bytes)})."
        )
    if done.losses:
        console.out(f"Left behind: {done.losses.missing} missing files. Damaged before: {done.losses.damaged}.")
    if done.left_over:
        console.note(
            f"{done.left_over} files in {done.destination} belong to nothing:"
            " `orthweb store check --repair` removes them"
        )
    if done.deleted:
        console.out(f"Deleted {done.deleted} files in {done.source}.")
    if done.left:
        console.note(f"{done.left} files in {done.source} were never copied, or their copy is gone: they stay there")
    elif done.kept:
        console.note(f"The old files are still in {done.kept}: repeat with --delete-source to delete them")


Show = Callable[[int, int, int], None]


@contextmanager
def _progress() -> Iterator[tuple[Callable[[str], Show], Report]]:
    """Show how far long work is, and what is being done: bars on a terminal, a line every few seconds elsewhere."""
    import sys

    if not sys.stderr.isatty():
        yield _lines, console.note
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[size]}"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True) as bar:

        def begin(what: str) -> Show:
            task = bar.add_task(what, total=None, size="")

            def show(done: int, count: int, size: int) -> None:
                bar.update(task, completed=done, total=count, size=console.size(size) if size else "")

            return show

        yield begin, lambda line: bar.console.print(line, markup=False, highlight=False)


def _lines(what: str) -> Show:
    last = time.monotonic()

    def show(done: int, count: int, size: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PERIOD:
            last = time.monotonic()
            console.note(f"{what}: {done} of {count} files{f', {console.size(size)} copied' if size else ''}")

    return show
