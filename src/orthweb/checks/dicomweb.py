"""Group ``web``: DICOMweb round trips (PS3.18): what is stored over HTTPS comes back as it was."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom import dcmread

from orthweb.checks import archive
from orthweb.checks.archive import DICOMWEB, expect
from orthweb.checks.check import CheckFailed, check
from orthweb.checks.dicom import same_instances
from orthweb.checks.subject import dataset_bytes

if TYPE_CHECKING:
    from orthweb.checks.context import Context

_LOGS = "see `orthweb logs edge` and `orthweb logs archive`"


@check(
    "web.stow",
    "STOW-RS",
    "One multipart request stores a series of slices and a multi-frame image, and names each in the answer",
    hint=f"is edge.max_body large enough, and the disk not full? {_LOGS}",
)
def stow(context: Context) -> str:
    """Store over HTTPS (PS3.18 10.5)."""
    posted = context.posted()
    size = sum(len(instance.content) for instance in posted)
    return f"{len(posted)} instances ({size / 1e6:.1f} MB) in one request"


@check("web.qido", "QIDO-RS", "A query by patient ID finds the posted study and its instances", hint=_LOGS)
def qido(context: Context) -> str:
    """Query over HTTPS (PS3.18 10.6)."""
    posted = context.posted()
    client = context.http()
    query = {"PatientID": context.patient.patient_id, "includefield": "StudyDescription"}
    studies = expect(client.get(f"{DICOMWEB}/studies", params=query)).json()
    if posted[0].study not in {archive.value(study, "0020000D") for study in studies}:
        raise CheckFailed(f"{len(studies)} studies match the test patient's ID; the posted one is not among them")
    listed = expect(client.get(f"{DICOMWEB}/studies/{posted[0].study}/instances")).json()
    found = {archive.value(item, "00080018") for item in listed}
    if found != {instance.sop_instance for instance in posted}:
        raise CheckFailed(f"{len(found)} instances listed, {len(posted)} were posted")
    return f"study found by patient ID; {len(found)} of {len(posted)} instances listed"


@check("web.wado_instance", "WADO-RS instance", "An instance comes back with the same data set", hint=_LOGS)
def wado_instance(context: Context) -> str:
    """Retrieve one instance in its own transfer syntax (PS3.18 10.4)."""
    instance = context.posted()[0]
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    response = expect(context.http().get(DICOMWEB + instance.path, headers={"accept": accept}))
    found = archive.parts(response)
    if len(found) != 1:
        raise CheckFailed(f"{len(found)} parts in the answer, not 1")
    return _same_file(instance.content, found[0])


def _same_file(sent: bytes, received: bytes) -> str:
    if dataset_bytes(sent) != dataset_bytes(received):
        raise CheckFailed("the data set differs from what was sent")
    whole = "the whole file" if sent == received else "the data set (File Meta Information rewritten)"
    return f"{whole} is identical, {len(received)} bytes"


@check("web.wado_study", "WADO-RS study", "The whole study comes back in one multipart answer, unchanged", hint=_LOGS)
def wado_study(context: Context) -> str:
    """Retrieve a study (PS3.18 10.4): 7 MB in one answer."""
    posted = context.posted()
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
    response = expect(context.http().get(f"{DICOMWEB}/studies/{posted[0].study}", headers={"accept": accept}))
    received = {_sop_instance(content): content for content in archive.parts(response)}
    return f"{same_instances(posted, received)}, {len(response.content) / 1e6:.1f} MB in one answer"


def _sop_instance(content: bytes) -> str:
    return str(dcmread(BytesIO(content), specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)


@check("web.wado_metadata", "WADO-RS metadata", "The metadata of an instance has the values sent", hint=_LOGS)
def wado_metadata(context: Context) -> str:
    """Retrieve metadata as JSON (PS3.18 10.4.1.1.2) and compare what was sent, element by element."""
    instance = context.posted()[0]
    response = context.http().get(f"{DICOMWEB}{instance.path}/metadata", headers={"accept": "application/dicom+json"})
    items: list[dict[str, Any]] = expect(response).json()
    if len(items) != 1:
        raise CheckFailed(f"{len(items)} items in the answer, not 1")
    compared = 0
    for element in instance.dataset:
        if element.VR in ("OW", "SQ", "PN", "DS") or element.is_empty or element.VM != 1:
            continue
        got = archive.value(items[0], f"{element.tag:08X}")
        if got != str(element.value):
            raise CheckFailed(f"{element.keyword} ({element.tag}) differs from what was sent")
        compared += 1
    return f"{compared} elements equal what was sent"


@check("web.wado_frames", "WADO-RS frames", "Each frame of a multi-frame image comes back byte for byte", hint=_LOGS)
def wado_frames(context: Context) -> str:
    """Retrieve frames (PS3.18 10.4.1.1.6)."""
    instance = context.posted()[-1]
    count = int(instance.dataset.NumberOfFrames)
    size = len(instance.pixels) // count
    for number in range(1, count + 1):
        response = context.http().get(
            f"{DICOMWEB}{instance.path}/frames/{number}",
            headers={"accept": 'multipart/related; type="application/octet-stream"'},
        )
        found = archive.parts(expect(response))
        if len(found) != 1 or found[0] != instance.pixels[(number - 1) * size : number * size]:
            raise CheckFailed(f"frame {number} of {count} differs from what was sent")
    return f"{count} frames of {size} bytes identical"


@check("web.wado_rendered", "WADO-RS rendered", "An instance is rendered as an image of its size", hint=_LOGS)
def wado_rendered(context: Context) -> str:
    """Retrieve a rendered image (PS3.18 10.4.1.1.3): a PNG (RFC 2083) with the right width and height."""
    instance = context.posted()[0]
    response = context.http().get(f"{DICOMWEB}{instance.path}/rendered", headers={"accept": "image/png"})
    content = expect(response).content
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        raise CheckFailed(f"the answer is not a PNG image but {response.headers.get('content-type')}")
    width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
    if (width, height) != (int(instance.dataset.Columns), int(instance.dataset.Rows)):
        raise CheckFailed(f"the image has {width} x {height} pixels, the instance another size")
    return f"PNG, {width} x {height} pixels"


CHECKS = (stow, qido, wado_instance, wado_study, wado_metadata, wado_frames, wado_rendered)
