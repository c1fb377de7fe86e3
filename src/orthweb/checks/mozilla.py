"""A TLS port against Mozilla's recommendation, judged by sslyze, as a process of its own.

sslyze waits on threads that a hung server can hold for minutes; a process can be ended. It prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from orthweb.access import CertificatePair
from orthweb.checks.check import CheckFailed


@dataclass(frozen=True)
class Verdict:
    """What sslyze found.

    Parameters
    ----------
    compliant : whether the port follows the profile.
    problems : what does not, one line each; or why the scan did not come to an end.
    seen : TLS versions and number of cipher suites, for the report.
    """

    compliant: bool
    problems: tuple[str, ...]
    seen: str


def judge(host: str, port: int, profile: str, ca: Path, client: CertificatePair | None, timeout: float) -> Verdict:
    """Scan a port against Mozilla's profile ``intermediate`` or ``modern`` (Mozilla, "Server Side TLS").

    Raises
    ------
    CheckFailed : the scan did not end in time, or not at all.
    """
    arguments = [sys.executable, "-m", "orthweb.checks.mozilla", host, str(port), profile, str(ca)]
    if client is not None:
        arguments += [str(client.certificate), str(client.key)]
    try:
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        raise CheckFailed(f"sslyze came to no end within {timeout:g} s") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()[-1:] or ["no output"]
        raise CheckFailed(f"sslyze failed: {last[0][:200]}") from None
    return Verdict(answer["compliant"], tuple(answer["problems"]), answer["seen"])


def scan(host: str, port: int, profile: str, ca: Path, client: CertificatePair | None) -> Verdict:
    """Do in this process what ``judge`` does in another."""
    from sslyze import (  # type: ignore[attr-defined]
        CertificateInfoExtraArgument,
        ClientAuthenticationCredentials,
        ScanCommandsExtraArguments,
        Scanner,
        ServerNetworkConfiguration,
        ServerNetworkLocation,
        ServerScanRequest,
    )
    from sslyze.mozilla_tls_profile import tls_config_checker as mozilla

    location = ServerNetworkLocation(hostname=host, port=port)
    shown = None
    if client is not None:
        shown = ClientAuthenticationCredentials(certificate_chain_path=client.certificate, key_path=client.key)
    request = ServerScanRequest(
        server_location=location,
        network_configuration=ServerNetworkConfiguration(
            tls_server_name_indication=host,
            tls_client_auth_credentials=shown,
            network_timeout=5,
            network_max_retries=1,
        ),
        scan_commands=set(mozilla.SCAN_COMMANDS_NEEDED_BY_MOZILLA_CHECKER),
        scan_commands_extra_arguments=ScanCommandsExtraArguments(
            certificate_info=CertificateInfoExtraArgument(custom_ca_file=ca)
        ),
    )
    scanner = Scanner()
    scanner.queue_scans([request])
    result = next(iter(scanner.get_results()))
    try:
        mozilla.check_server_against_tls_configuration(
            result, mozilla.MozillaTlsConfiguration.get(mozilla.TlsConfigurationEnum(profile))
        )
    except mozilla.ServerNotCompliantWithTlsConfiguration as found:
        return Verdict(False, tuple(f"{name}: {text}" for name, text in found.issues.items()), _seen(result))
    except mozilla.ServerScanResultIncomplete as incomplete:
        why = result.connectivity_error_trace
        return Verdict(False, (f"the scan is incomplete: {why or incomplete}".strip(),), "")
    return Verdict(True, (), _seen(result))


def _seen(result: object) -> str:
    scans = getattr(result, "scan_result", None)
    seen = []
    for name, attribute in (
        ("SSL 2.0", "ssl_2_0_cipher_suites"),
        ("SSL 3.0", "ssl_3_0_cipher_suites"),
        ("TLS 1.0", "tls_1_0_cipher_suites"),
        ("TLS 1.1", "tls_1_1_cipher_suites"),
        ("TLS 1.2", "tls_1_2_cipher_suites"),
        ("TLS 1.3", "tls_1_3_cipher_suites"),
    ):
        suites = getattr(getattr(scans, attribute, None), "result", None)
        accepted = getattr(suites, "accepted_cipher_suites", [])
        if accepted:
            seen.append(f"{name} ({len(accepted)} suites)")
    return ", ".join(seen)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m orthweb.checks.mozilla", description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("profile", choices=("intermediate", "modern"))
    parser.add_argument("ca", type=Path)
    parser.add_argument("client", type=Path, nargs="*", help="client certificate and key")
    given = parser.parse_args()
    client = CertificatePair(*given.client) if given.client else None
    verdict = scan(given.host, given.port, given.profile, given.ca, client)
    sys.stdout.write(
        json.dumps({"compliant": verdict.compliant, "problems": verdict.problems, "seen": verdict.seen}) + "\n"
    )


if __name__ == "__main__":
    _main()
