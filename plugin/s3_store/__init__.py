# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keep Orthanc's attachments in an S3 bucket. Nothing here needs Orthanc: ``plugin/s3.py`` registers it there."""
