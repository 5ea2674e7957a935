"""Why a transfer failed, and the exit status that goes with it."""

from __future__ import annotations

from collections.abc import Collection

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_NOT_THERE = 3
EXIT_NOT_ALLOWED = 4
EXIT_NOT_VERIFIED = 5
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it

STATUSES = """\
exit status: 0 all is done; 1 something failed; 2 bad usage; 3 there is no such
file; 4 not allowed, or nobody could sign in. Of several URLs that end in
different ways it is 1.
"""
TRANSFER_STATUSES = """\
exit status: 0 all is done; 1 something failed; 2 bad usage; 3 there is no such
file; 4 not allowed, or nobody could sign in; 5 the octets are not those that
were promised, or --verify could not be done; 130 Ctrl-C or SIGTERM. Of several
transfers that end in different ways it is 1.
"""


class TransferError(Exception):
    """It was not done. The text is one line for people; what peers said in it is not cleaned yet."""

    status = EXIT_FAILED


class UsageError(TransferError):
    """That cannot be asked for."""

    status = EXIT_USAGE


class NotThereError(TransferError):
    """The peer has no such thing."""

    status = EXIT_NOT_THERE


class NotAllowedError(TransferError):
    """The peer does not let us."""

    status = EXIT_NOT_ALLOWED


class NotVerifiedError(TransferError):
    """The digest differs, or nobody tells it."""

    status = EXIT_NOT_VERIFIED


class StoppedError(TransferError):
    """Ctrl-C."""


def status_of(statuses: Collection[int]) -> int:
    """The exit status of several transfers, from those that failed."""
    different = set(statuses)
    return different.pop() if len(different) == 1 else EXIT_FAILED if different else 0
