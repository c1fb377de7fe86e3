# SPDX-License-Identifier: AGPL-3.0-or-later
"""The names of objects: those of the official object-storage plugin in its flat layout, and none beside them.

Source: Orthanc Book, "Cloud object storage plugins"; what is not listed there has the extension ``.unk``.
"""

EXTENSIONS = {1: ".dcm", 2: ".json", 3: ".dcm.head"}
"""By Orthanc's content type (OrthancPluginContentType): DICOM, DICOM as JSON, DICOM until pixel data."""

OTHER = ".unk"


def key(root: str, uuid: str, content_type: int) -> str:
    """Name the object of an attachment; `root` is empty or ends with a slash."""
    return f"{root}{uuid}{EXTENSIONS.get(int(content_type), OTHER)}"
