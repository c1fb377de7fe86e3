"""How each client is set up: pure functions that give text, with host, port, AE title and files filled in.

Each command stands for itself, and what a toolkit needs beyond its defaults is part of it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass

from orthweb.errors import UsageError
from orthweb.trust.connection import TRUST_STORE_PASSWORD, Connection


@dataclass(frozen=True)
class Step:
    """One thing to do: what it is for, and the text to paste, if any."""

    text: str
    command: str | None = None


@dataclass(frozen=True)
class Instructions:
    """How one client is set up."""

    tool: str
    title: str
    steps: tuple[Step, ...]


def dcmtk(to: Connection) -> Instructions:
    """DCMTK's echoscu, storescu and findscu (getscu and movescu of DCMTK speak no TLS)."""
    tls = ["+tla"] if to.client is None else ["+tls", str(to.client.key), str(to.client.certificate)]
    options = [*tls, "+cf", str(to.ca), "-aec", to.aet]
    peer = [to.host, str(to.dicom_port)]
    keys = ("QueryRetrieveLevel=STUDY", "PatientName", "PatientID", "StudyDate", "StudyInstanceUID")
    find = [part for key in keys for part in ("-k", key)]
    return Instructions(
        "dcmtk",
        "DCMTK",
        (
            Step("verify the connection (C-ECHO)", _line("echoscu", "-v", *options, *peer)),
            Step(
                "send the uncompressed files *.dcm of this folder (C-STORE); compressed ones need a proposal, such as "
                "-xs for JPEG lossless or -xv for JPEG 2000",
                f"{_line('storescu', '-v', *options, *peer)} *.dcm",
            ),
            Step("list the studies (C-FIND)", _line("findscu", "-v", "-S", *find, *options, *peer)),
        ),
    )


def dcm4che(to: Connection) -> Instructions:
    """dcm4che's command line tools (its own ``--tls`` offers CBC suites alone, which no current server takes)."""
    protocol = (
        ("TLSv1.3", "TLS_AES_128_GCM_SHA256") if to.modern else ("TLSv1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    )
    options = ["-c", f"{to.aet}@{to.host}:{to.dicom_port}", "--tls-protocol", protocol[0], "--tls-cipher", protocol[1]]
    options += ["--trust-store", str(to.trust_store), "--trust-store-type", "PKCS12"]
    options += ["--trust-store-pass", TRUST_STORE_PASSWORD]
    tls = _line(*options)
    if to.client is not None:
        container = to.client.certificate.with_suffix(".p12")
        tls += f" {_line('--key-store', str(container), '--key-store-type', 'PKCS12')}"
        tls += f' --key-store-pass "$(cat {shlex.quote(f"{container}.password")})"'
    attributes = [part for key in ("PatientName", "PatientID", "StudyDate", "StudyInstanceUID") for part in ("-r", key)]
    return Instructions(
        "dcm4che",
        "dcm4che (Java)",
        (
            Step("verify the connection (C-ECHO); in the folder bin of dcm4che", f"./storescu {tls}"),
            Step("send the DICOM files of a folder (C-STORE)", f"./storescu {tls} FOLDER"),
            Step("list the studies (C-FIND)", f"./findscu {tls} -L STUDY {_line(*attributes)}"),
        ),
    )


def java(to: Connection) -> Instructions:
    """Any other Java program: options of the virtual machine."""
    properties = [
        f"-Djavax.net.ssl.trustStore={to.trust_store}",
        "-Djavax.net.ssl.trustStoreType=PKCS12",
        f"-Djavax.net.ssl.trustStorePassword={TRUST_STORE_PASSWORD}",
    ]
    return Instructions(
        "java",
        "Java programs",
        (
            Step("options of the java command", _line(*properties)),
            Step(
                "Java before 8u301 and 11.0.12 cannot read this store; make one with its own keytool",
                _line(
                    *("keytool", "-importcert", "-noprompt", "-alias", f"{to.name}-ca", "-file", str(to.ca)),
                    *("-keystore", f"{to.name}-truststore.jks", "-storepass", TRUST_STORE_PASSWORD),
                ),
            ),
        ),
    )


def pynetdicom(to: Connection) -> Instructions:
    """A Python program that verifies the connection; the two lines about TLS are what any other one needs."""
    client = ""
    if to.client is not None:
        client = f"tls.load_cert_chain({str(to.client.certificate)!r}, {str(to.client.key)!r})\n"
    program = (
        "import ssl\n"
        "\n"
        "from pynetdicom import AE\n"
        "from pynetdicom.sop_class import Verification\n"
        "\n"
        f"tls = ssl.create_default_context(cafile={str(to.ca)!r})\n"
        f"{client}"
        'ae = AE(ae_title="PYNETDICOM")\n'
        "ae.add_requested_context(Verification)\n"
        f"association = ae.associate({to.host!r}, {to.dicom_port}, ae_title={to.aet!r}, tls_args=(tls, {to.host!r}))\n"
        "if not association.is_established:\n"
        '    raise SystemExit("no association")\n'
        'print(f"C-ECHO status 0x{association.send_c_echo().Status:04x}")\n'
        "association.release()\n"
    )
    return Instructions("pynetdicom", "pynetdicom (Python)", (Step("verify the connection (C-ECHO)", program),))


def curl(to: Connection) -> Instructions:
    """HTTPS: health, the REST API and DICOMweb; the password is asked for, never an argument."""
    ca = ("--cacert", str(to.ca))
    login = ("--user", to.user)
    accept = ("-H", "Accept: application/dicom+json")
    return Instructions(
        "curl",
        "curl",
        (
            Step("is the site well? (no login)", _line("curl", "-sS", *ca, f"{to.url}/healthz")),
            Step(
                f"list studies with DICOMweb (asks for the password of {to.user}: orthweb credentials)",
                _line("curl", "-sS", *ca, *login, *accept, f"{to.url}/dicom-web/studies?limit=10"),
            ),
        ),
    )


def horos(to: Connection) -> Instructions:
    """Horos and OsiriX on macOS: trust through the keychain, then a DICOM node with TLS."""
    keychain = "~/Library/Keychains/login.keychain-db"
    steps = [
        Step(
            f"copy {to.ca.name} to the Mac, then trust it there (asks for the Mac's password)",
            f"security add-trusted-cert -r trustRoot -k {keychain} {shlex.quote(to.ca.name)}",
        )
    ]
    if to.client is not None:
        container = to.client.certificate.with_suffix(".p12").name
        steps.append(
            Step(
                f"copy {container} to the Mac, then import it (asks for the password in {container}.password)",
                f"security import {shlex.quote(container)} -k {keychain}",
            )
        )
    steps += [
        Step(
            f"Preferences > Locations > DICOM nodes > +: address {to.host}, port {to.dicom_port}, AETitle {to.aet}; "
            "switch TLS on for the node"
        ),
        Step(
            "in the node's TLS settings require and verify the server's certificate"
            + ("; choose the imported client certificate" if to.client is not None else "")
        ),
        Step("press Verify; retrieve with C-GET, or add the Mac under [modalities] in the site file for C-MOVE"),
    ]
    return Instructions("horos", "Horos and OsiriX (macOS)", tuple(steps))


def browsers(to: Connection) -> Instructions:
    """Firefox, Chrome and Edge on Linux, macOS and Windows."""
    file = shlex.quote(to.ca.name)
    return Instructions(
        "browsers",
        "Browsers",
        (
            Step(
                f"the site is at {to.url}/ (user {to.user}, password: orthweb credentials); "
                f"copy {to.ca.name} to the computer"
            ),
            Step(
                "Firefox, everywhere: Settings > Privacy & Security > View Certificates > Authorities > Import; tick "
                f"'Trust this CA to identify websites'; compare the SHA-256 fingerprint: {to.ca_sha256}"
            ),
            Step(
                "Chrome and Chromium on Linux: chrome://certificate-manager > Custom > Installed by you > "
                "Trusted Certificates > Import; or (package libnss3-tools)",
                'mkdir -p "$HOME/.pki/nssdb"\n'
                f'certutil -d "sql:$HOME/.pki/nssdb" -A -t "C,," -n {shlex.quote(f"{to.name} site CA")} -i {file}',
            ),
            Step(
                "Safari, Chrome and Edge on macOS (asks for the Mac's password)",
                f"security add-trusted-cert -r trustRoot -k ~/Library/Keychains/login.keychain-db {file}",
            ),
            Step("Chrome and Edge on Windows, for the user alone", f"certutil -user -addstore Root {to.ca.name}"),
        ),
    )


TOOLS: dict[str, Callable[[Connection], Instructions]] = {
    "dcmtk": dcmtk,
    "dcm4che": dcm4che,
    "java": java,
    "pynetdicom": pynetdicom,
    "curl": curl,
    "horos": horos,
    "browsers": browsers,
}
"""Every client that there are instructions for, by the name that `orthweb trust TOOL` takes."""

ALIASES = {"osirix": "horos", "firefox": "browsers", "chrome": "browsers", "edge": "browsers", "safari": "browsers"}


def instructions(to: Connection, tool: str | None = None) -> list[Instructions]:
    """Give the instructions for one client, or for all of them.

    Raises
    ------
    UsageError : there are none for this client.
    """
    if tool is None:
        return [make(to) for make in TOOLS.values()]
    name = ALIASES.get(tool.lower(), tool.lower())
    if name not in TOOLS:
        raise UsageError(f"TOOL: {tool}: should be one of {', '.join([*TOOLS, *ALIASES])}")
    return [TOOLS[name](to)]


def _line(*words: str) -> str:
    return shlex.join(words)
