"""Real DICOM peers for the client's tests: Orthanc and dcmtk's storescp, on loopback, with a small CA."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from live.sites import free_port
from orthweb.access import CertificatePair
from orthweb.dicom.peer import Peer, TlsOptions

DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority that lives as long as a test."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = self._build(self._name, self._key.public_key(), [], authority=True)
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def _build(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey,
        names: list[str],
        *,
        authority: bool = False,
        expired: bool = False,
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 10 * DAY)
            .not_valid_after(now - DAY if expired else now + DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if names:
            alternatives: list[x509.GeneralName] = []
            for name in names:
                try:
                    alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
                except ValueError:
                    alternatives.append(x509.DNSName(name))
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str, *, names: list[str] | None = None, expired: bool = False) -> CertificatePair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._build(subject, key.public_key(), names or [name], expired=expired)
        pair = CertificatePair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def await_port(port: int, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


class Orthanc:
    """A running Orthanc."""

    def __init__(self, folder: Path, peer: Peer, http_port: int) -> None:
        self.folder = folder
        self.peer = peer
        self.http_port = http_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/usr/sbin/Orthanc", str(self.folder / "orthanc.json")],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "TCP_NODELAY": "1"},
            )
        await_port(self.peer.port, self._process)
        await_port(self.http_port, self._process)

    def kill(self) -> None:
        """Die as in a power failure."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()

    def rest(self, path: str, body: Any = None, method: str | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            method=method or ("GET" if body is None else "POST"),
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers.get("Content-Type", "").startswith("application/json") else content

    def sop_instances(self) -> set[str]:
        found = self.rest("/tools/find", {"Level": "Instance", "Query": {}, "Expand": True})
        return {entry["MainDicomTags"]["SOPInstanceUID"] for entry in found}

    def file_of(self, sop_instance: str) -> bytes:
        (found,) = self._lookup(sop_instance)
        content = self.rest(f"/instances/{found}/file")
        assert isinstance(content, bytes)
        return content

    def _lookup(self, sop_instance: str) -> list[str]:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/tools/lookup", data=sop_instance.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [entry["ID"] for entry in json.load(answer)]

    def count(self) -> int:
        return int(self.rest("/statistics")["CountInstances"])

    def clear(self) -> None:
        for patient in self.rest("/patients"):
            self.rest(f"/patients/{patient}", method="DELETE")


@contextmanager
def orthanc(folder: Path, tls: Authority | None = None, **settings: Any) -> Iterator[Orthanc]:
    """Run Orthanc with an SQLite index until the block ends."""
    folder.mkdir(parents=True, exist_ok=True)
    dicom_port, http_port = free_port(), free_port()
    configuration: dict[str, Any] = {
        "Name": "test",
        "StorageDirectory": str(folder / "store"),
        "IndexDirectory": str(folder / "store"),
        "DicomAet": "ORTHANC",
        "DicomPort": dicom_port,
        "HttpPort": http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomCheckCalledAet": True,
        "DicomAlwaysAllowStore": True,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowGet": True,
        "DicomAlwaysAllowMove": True,
        "DicomThreadsCount": 16,
        "UnknownSopClassAccepted": True,
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    options = None
    if tls is not None:
        pair = tls.issue("localhost", names=["localhost", "127.0.0.1"])
        options = TlsOptions(ca=tls.ca, certificate=tls.issue("client"))
        configuration |= {
            "DicomTlsEnabled": True,
            "DicomTlsCertificate": str(pair.certificate),
            "DicomTlsPrivateKey": str(pair.key),
            "DicomTlsTrustedCertificates": str(tls.ca),
            "DicomTlsRemoteCertificateRequired": False,
        }
    (folder / "orthanc.json").write_text(json.dumps(configuration | settings))
    peer = Peer("ORTHANC", "localhost" if tls is not None else "127.0.0.1", dicom_port, options, calling_aet="TESTER")
    running = Orthanc(folder, peer, http_port)
    running.start()
    try:
        yield running
    finally:
        running.stop()


@contextmanager
def storescp(
    folder: Path, *arguments: str, pair: CertificatePair | None = None, ca: Path | None = None
) -> Iterator[Peer]:
    """Run dcmtk's storescp, which keeps what it receives in ``folder/received``."""
    received = folder / "received"
    received.mkdir(parents=True, exist_ok=True)
    port = free_port()
    secure: list[str] = []
    options = None
    if pair is not None and ca is not None:
        secure = ["+tls", str(pair.key), str(pair.certificate), "+cf", str(ca)]
        options = TlsOptions(ca=ca, certificate=pair)
    command = ["/usr/bin/storescp", *secure, *arguments, "-od", str(received), str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "TCP_NODELAY": "1"}
    )
    try:
        await_port(port, process)
        yield Peer("STORESCP", "localhost", port, options)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[int]:
    """Accept TLS handshakes, say nothing more; for tests of certificates."""
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                try:
                    connection.settimeout(5)
                    with context.wrap_socket(connection, server_side=True) as secure:
                        secure.recv(1)
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            stop.set()
            thread.join()
