"""What an account may do."""

from __future__ import annotations

from enum import Enum


class Access(Enum):
    """Full, only read, or only add what is new: an upload-only account sees nothing and replaces nothing."""

    FULL = "full"
    READ_ONLY = "read-only"
    UPLOAD_ONLY = "upload-only"
