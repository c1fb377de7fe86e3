# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Orthanc's Python plugin loads: one file, which brings the others."""

import files  # noqa: F401
import loopback  # noqa: F401
import reserve  # noqa: F401
import s3  # noqa: F401
