"""Memory and rate of ``orthweb store check``: a thousand files and a hundred thousand, in each kind of store."""

from __future__ import annotations

import hashlib
import http.server
import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

from benchmarks import sites
from benchmarks.report import Figures, Scale, Table, Target, Value
from benchmarks.sites import MEGABYTE, BenchmarkSite, free_port
from orthweb.store.index import connect
from orthweb.store.site import index_facts

CONTENT = b"as small as a file can be that is read and hashed"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
LIMIT = 300.0
"""Megabytes of memory that 100,000 files may take."""

POLL = 0.01
"""Seconds between two looks at the memory; the last one misses what is asked for in that time."""

AT_ONCE = 5000
"""Rows and large objects in one transaction."""

_ROWS = """
WITH made AS (
  INSERT INTO resources (resourcetype, publicid, parentid)
  SELECT 3, md5(random()::text || n), NULL FROM generate_series(1, %s) n RETURNING internalid
)
INSERT INTO attachedfiles (id, filetype, uuid, compressedsize, uncompressedsize, compressiontype, uncompressedhash,
                           compressedhash)
SELECT internalid, 1, gen_random_uuid()::text, %s, %s, 1, %s, %s FROM made
"""


def run(scale: Scale) -> Figures:
    """Make the files of one site a hundred times as many, and compare them before and after."""
    rows: list[dict[str, Value]] = []
    few, many = scale.size(1000, 100), scale.size(100_000, 1000)
    with sites.site() as site:
        for count in (few, many):
            names = _index(site, count)
            _measure(rows, site, "filesystem", "all missing", count, code=1)
            _files(site, names)
            _measure(rows, site, "filesystem", "sizes", count)
            _measure(rows, site, "filesystem", "contents", count, "--contents")
            with _lister(names) as endpoint:
                credentials = site.folder / "credentials"
                credentials.write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n")
                where = f'bucket = "images"\nendpoint = "{endpoint}"\ncredentials = "{credentials}"'
                _become(site, "s3", f"[s3]\n{where}\n")
                _measure(rows, site, "s3", "sizes", count)
            _become(site, "database")
            _large_objects(site)
            _measure(rows, site, "database", "sizes", count)
            _measure(rows, site, "database", "contents", count, "--contents")
            _become(site, "filesystem")
    highest = max(float(row["peak memory, MB"] or 0) for row in rows)
    notes = [
        f"files of {len(CONTENT)} bytes: the walk is measured, not the disk; S3 is a listing made up on loopback",
    ]
    return Figures(
        "store_check",
        [Table("orthweb store check", rows)],
        [Target(f"peak memory with {many} files, MB", LIMIT, highest)],
        notes,
    )


def _measure(
    rows: list[dict[str, Value]], site: BenchmarkSite, kind: str, what: str, count: int, *words: str, code: int = 0
) -> None:
    command = [sys.executable, "-m", "orthweb", "--site", str(site.file), "store", "check", "--json", *words]
    begin = time.monotonic()
    highest = 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, text=True)
        while process.poll() is None:
            highest = max(highest, _peak(process.pid))
            time.sleep(POLL)
        seconds = time.monotonic() - begin
        output.seek(0)
        said = output.read()
    if process.returncode != code:
        raise RuntimeError(f"orthweb store check: {process.returncode}, {said}")
    found = json.loads(said)
    if found["indexed"] != count or found["orphaned"]:
        raise RuntimeError(f"not the files that were made: {said}")
    rows.append(
        {
            "store": kind,
            "compared": what,
            "files": count,
            "seconds": seconds,
            "files/s": count / seconds,
            "peak memory, MB": highest / MEGABYTE,
        }
    )


def _peak(pid: int) -> int:
    """Give the highest resident memory of a process so far in bytes (proc(5), ``VmHWM``).

    What wait4(2) tells is at least the memory of whoever started it.
    """
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) * 1024 if found else 0


def _become(site: BenchmarkSite, kind: str, more: str = "") -> None:
    """Let the site believe that its images are in another kind of store; its archive is left alone."""
    lines = site.file.read_text().split("[store]", maxsplit=1)[0]
    site.file.write_text(f'{lines}[store]\nkind = "{kind}"\n{more}')
    site.target.remember_store(kind)  # type: ignore[arg-type]


def _index(site: BenchmarkSite, count: int) -> list[str]:
    """Make rows for files until there are `count`; give the names of all files."""
    with connect(index_facts(site.target), read_only=False) as index:
        # They keep totals, row by row, which nobody asks for here.
        index.execute("ALTER TABLE attachedfiles DISABLE TRIGGER USER")
        [there] = index.execute("SELECT count(*) FROM attachedfiles").fetchone() or (0,)
        for start in range(there, count, AT_ONCE):
            size = len(CONTENT)
            index.execute(_ROWS, (min(AT_ONCE, count - start), size, size, MD5, MD5))
        index.execute("ANALYZE")
        return [str(row[0]) for row in index.execute('SELECT uuid FROM attachedfiles ORDER BY uuid COLLATE "C"')]


def _files(site: BenchmarkSite, names: list[str]) -> None:
    store = site.target.stored().folder
    for name in names:
        folder = store / name[0:2] / name[2:4]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(CONTENT)


def _large_objects(site: BenchmarkSite) -> None:
    with connect(index_facts(site.target), read_only=False) as index:
        index.execute(
            "CREATE TABLE IF NOT EXISTS StorageArea(uuid VARCHAR NOT NULL PRIMARY KEY, content OID NOT NULL,"
            " type INTEGER NOT NULL)"
        )
        missing = (
            "INSERT INTO storagearea SELECT uuid, lo_from_bytea(0, %b), 1 FROM attachedfiles a"
            " WHERE NOT EXISTS (SELECT 1 FROM storagearea s WHERE s.uuid = a.uuid) LIMIT %s"
        )
        while index.execute(missing, (CONTENT, AT_ONCE)).rowcount:
            pass


@contextmanager
def _lister(names: list[str]) -> Iterator[str]:
    """Run a server that lists these objects as S3 does (ListObjectsV2), a thousand a page; give its address."""
    port = free_port()
    process = multiprocessing.get_context("fork").Process(target=_list, args=(port, names), daemon=True)
    process.start()
    try:
        while not _listens(port):
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.join()


def _listens(port: int) -> bool:
    from orthweb.targets.local.ports import is_free

    return not is_free(port)


def _list(port: int, names: list[str]) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if "list-type" not in parse_qs(url.query):  # no object is there: nobody's bucket
                self._answer(404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>")
                return
            start = int(parse_qs(url.query).get("continuation-token", ["0"])[0])
            page, more = names[start : start + 1000], start + 1000 < len(names)
            token = f"<NextContinuationToken>{start + 1000}</NextContinuationToken>" if more else ""
            items = "".join(
                f"<Contents><Key>{escape(name)}.dcm</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
                f'<ETag>"{MD5}"</ETag><Size>{len(CONTENT)}</Size></Contents>'
                for name in page
            )
            body = (
                f"<?xml version='1.0'?><ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{items}"
                "</ListBucketResult>"
            ).encode()
            self._answer(200, body)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        log_message: Callable[..., None] = lambda *_: None

    os.environ.clear()
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
