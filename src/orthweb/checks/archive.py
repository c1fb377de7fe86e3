"""The archive's HTTP interfaces as the checks use them: Orthanc's REST API and DICOMweb (PS3.18)."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from email.message import Message
from typing import TYPE_CHECKING, Any

import httpx

from orthweb.checks.check import CheckFailed

if TYPE_CHECKING:
    from orthweb.access import Credentials
    from orthweb.checks.subject import Instance

DICOMWEB = "/dicom-web"


def expect(response: httpx.Response, status: int = 200) -> httpx.Response:
    """Give the response back if it has the status.

    Raises
    ------
    CheckFailed : it has another.
    """
    if response.status_code != status:
        request = response.request
        raise CheckFailed(f"{request.method} {_place(request.url.path)} answered {response.status_code}, not {status}")
    return response


def _place(path: str) -> str:
    """Shorten a path to what a report needs: its first two parts."""
    parts = path.split("/")
    return "/".join(parts[:3]) + ("/..." if len(parts) > 3 else "")


def basic(credentials: Credentials) -> str:
    """Give the value of an ``Authorization`` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{credentials.user}:{credentials.password}".encode()).decode()


def patients(client: httpx.Client, patient_id: str) -> dict[str, str]:
    """Find patients by ID (``*`` is a wildcard): Orthanc id -> patient ID."""
    found = expect(
        client.post("/tools/find", json={"Level": "Patient", "Expand": True, "Query": {"PatientID": patient_id}})
    ).json()
    return {str(item["ID"]): str(item["MainDicomTags"]["PatientID"]) for item in found}


def delete_patient(client: httpx.Client, key: str) -> None:
    """Delete a patient with all instances; one that is gone already is fine."""
    response = client.delete(f"/patients/{key}")
    if response.status_code != 404:
        expect(response)


def stow(client: httpx.Client, instances: Sequence[Instance]) -> int:
    """Store instances with one STOW-RS request (PS3.18 10.5); give the body's size in bytes.

    Raises
    ------
    CheckFailed : not each instance is among those that the archive says it stored.
    """
    boundary = f"orthweb-{secrets.token_hex(12)}"
    body = b"".join(_parts(boundary, (instance.content for instance in instances)))
    response = expect(
        client.post(
            f"{DICOMWEB}/studies",
            content=body,
            headers={
                "content-type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "accept": "application/dicom+json",
            },
        )
    )
    stored = {value(item, "00081155") for item in response.json().get("00081199", {}).get("Value", [])}
    missing = [instance for instance in instances if instance.sop_instance not in stored]
    if missing:
        raise CheckFailed(f"{len(missing)} of {len(instances)} instances are not in the answer's ReferencedSOPSequence")
    return len(body)


def _parts(boundary: str, contents: Iterable[bytes]) -> Iterator[bytes]:
    for content in contents:
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\nContent-Length: {len(content)}\r\n\r\n".encode()
        yield content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()


def parts(response: httpx.Response) -> list[bytes]:
    """Split a ``multipart/related`` body (RFC 2387) into its parts' contents.

    Raises
    ------
    CheckFailed : it is none.
    """
    header = Message()
    header["content-type"] = response.headers.get("content-type", "")
    boundary = header.get_param("boundary")
    if header.get_content_maintype() != "multipart" or not isinstance(boundary, str):
        raise CheckFailed(f"the answer is {header.get_content_type()}, not multipart/related")
    found = []
    for part in (b"\r\n" + response.content).split(b"\r\n--" + boundary.encode())[1:-1]:
        _, _, content = part.partition(b"\r\n\r\n")
        found.append(content)
    return found


def value(item: Mapping[str, Any], tag: str) -> str:
    """Read the first value of an attribute in the DICOM JSON model (PS3.18 F.2); "" if it has none."""
    values = item.get(tag, {}).get("Value") or [""]
    first = values[0]
    return str(first.get("Alphabetic", "") if isinstance(first, dict) else first)
