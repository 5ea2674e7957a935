"""The time as 32 bits. No I/O; the clock is the caller's.

RFC 868: "The time is the number of seconds since 00:00 (midnight) 1 January 1900 GMT, such that the time 1 is
12:00:01 am on 1 January 1900 GMT; this base will serve until the year 2036." From 2036-02-07 06:28:16 UTC it counts
from 0 again.
"""

from __future__ import annotations

import math
import struct

EPOCH = 2_208_988_800  # seconds from 1900-01-01 to 1970-01-01, RFC 868


def encode(seconds: float) -> bytes:
    """Seconds since 1970 -> four octets, big-endian; a broken second is rounded down."""
    return struct.pack("!I", (math.floor(seconds) + EPOCH) & 0xFFFFFFFF)
