"""Orthanc with our part of it (``plugin/``) and nothing else: no edge, no index server; on loopback, without TLS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import obstore

from live.counting import TIMEOUTS
from live.s3_server import S3Server
from live.sites import free_port
from orthweb.dicom.peer import Peer

PLUGIN = Path(__file__).parents[2] / "plugin"
LOADED = ("DicomWeb", "Python")
DEBIAN = Path("/usr/share/orthanc/plugins")


def s3_section(s3: S3Server, cache: Path | None = None, **changes: Any) -> dict[str, Any]:
    """Give the settings that lead to the server's bucket; `changes` by their names in Orthanc's configuration."""
    made = {
        "Bucket": s3.bucket,
        "Region": s3.region,
        "Endpoint": s3.endpoint,
        "CaFile": str(s3.ca or ""),
        "CredentialsFile": str(s3.credentials),
        "Deadline": 4,
        "CacheSize": 64 * 1024**2 if cache else 0,
        "CacheFolder": str(cache or ""),
    }
    return made | changes


class BareOrthanc:
    """One process, its index (SQLite) and its folder."""

    def __init__(self, folder: Path, orthweb: Mapping[str, Any], **settings: Any) -> None:
        self.folder = folder
        self.http_port, self.dicom_port = free_port(), free_port()
        self.log = folder / "orthanc.log"
        self.peer = Peer("ARCHIVE", "127.0.0.1", self.dicom_port, timeouts=TIMEOUTS)
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "StorageDirectory": str(folder / "files"),
            "IndexDirectory": str(folder / "index"),
            "TemporaryDirectory": str(folder),
            "Plugins": [str(DEBIAN / f"libOrthanc{name}.so") for name in LOADED],
            "PythonScript": str(PLUGIN / "archive.py"),
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": "ARCHIVE",
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False,
            "UnknownSopClassAccepted": True,
            "AuthenticationEnabled": False,
            "RemoteAccessAllowed": False,
            "KeepAlive": True,
            "MetricsEnabled": True,
            # Its own cache in memory would answer in place of ours.
            "MaximumStorageCacheSize": 0,
            "StorageCompression": False,
            "StoreMD5ForAttachments": True,
            "Orthweb": {"Loopback": True, "Libraries": str(Path(obstore.__file__).parents[1]), **orthweb},
            **settings,
        }

    def start(self, *, wait: bool = True) -> None:
        """Start it; wait until it answers."""
        file = self.folder / "orthanc.json"
        file.write_text(json.dumps(self._settings))
        environment = {"PATH": os.environ["PATH"], "TCP_NODELAY": "1"}
        command = ["Orthanc", str(file)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while wait:
            assert self.process.poll() is None, f"Orthanc does not start:\n{self.said()}"
            with suppress(httpx.HTTPError), self.client() as http:
                if http.get("/system").is_success:
                    break
            assert time.monotonic() < deadline, f"Orthanc does not answer:\n{self.said()}"
            time.sleep(0.05)

    def stop(self, *, kill: bool = False) -> None:
        """End it, or kill it as a power cut would."""
        if self.process is not None:
            if kill:
                self.process.kill()
            else:
                self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
            self.process = None

    def client(self) -> httpx.Client:
        """Give a client of its REST API."""
        return httpx.Client(base_url=f"http://127.0.0.1:{self.http_port}", timeout=60, trust_env=False)

    def said(self) -> str:
        """Give its log."""
        return self.log.read_text(errors="replace")

    def metrics(self) -> dict[str, float]:
        """Give our metrics as they are once they rest."""
        file, before = self.folder / "s3.prom", ""
        while not file.exists() or file.read_text() != before:
            before = file.read_text() if file.exists() else "not yet"
            time.sleep(2.5)  # longer than they are written apart
        return {name: float(value) for name, value in (line.split() for line in before.splitlines())}

    def change(self, **orthweb: Any) -> None:
        """Change its section ``Orthweb``, for the next start."""
        self._settings["Orthweb"] = {**self._settings["Orthweb"], **orthweb}


@contextmanager
def bare_orthanc(folder: Path, *, wait: bool = True, start: bool = True, **settings: Any) -> Iterator[BareOrthanc]:
    """Run one in a new folder below `folder`; `settings`: ``orthweb`` for our section, others for Orthanc's own."""
    place = folder / f"orthanc-{time.monotonic_ns()}"
    place.mkdir()
    made = BareOrthanc(place, settings.pop("orthweb", {}), **settings)
    try:
        if start:
            made.start(wait=wait)
        yield made
    finally:
        made.stop()
        shutil.rmtree(place, ignore_errors=True)
