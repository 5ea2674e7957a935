"""The numbers of SSH's messages and reasons that a server of files meets (RFC 4250 4.1, 4.2, 4.3)."""

from __future__ import annotations

from enum import IntEnum


class Message(IntEnum):
    """Numbers of messages."""

    DISCONNECT = 1
    IGNORE = 2
    UNIMPLEMENTED = 3
    DEBUG = 4
    SERVICE_REQUEST = 5
    SERVICE_ACCEPT = 6
    EXT_INFO = 7  # RFC 8308
    KEXINIT = 20
    NEWKEYS = 21
    KEX_INIT = 30  # KEX_ECDH_INIT (RFC 5656 4), and KEX_HYBRID_INIT
    USERAUTH_REQUEST = 50
    USERAUTH_FAILURE = 51
    USERAUTH_SUCCESS = 52
    USERAUTH_PK_OK = 60
    GLOBAL_REQUEST = 80
    REQUEST_FAILURE = 82
    CHANNEL_OPEN = 90
    CHANNEL_OPEN_CONFIRMATION = 91
    CHANNEL_OPEN_FAILURE = 92
    CHANNEL_WINDOW_ADJUST = 93
    CHANNEL_DATA = 94
    CHANNEL_EXTENDED_DATA = 95
    CHANNEL_EOF = 96
    CHANNEL_CLOSE = 97
    CHANNEL_REQUEST = 98
    CHANNEL_SUCCESS = 99
    CHANNEL_FAILURE = 100


class Reason(IntEnum):
    """Why a side disconnects."""

    PROTOCOL_ERROR = 2
    KEY_EXCHANGE_FAILED = 3
    MAC_ERROR = 5
    SERVICE_NOT_AVAILABLE = 7
    PROTOCOL_VERSION_NOT_SUPPORTED = 8
    BY_APPLICATION = 11
    TOO_MANY_CONNECTIONS = 12
    NO_MORE_AUTH_METHODS_AVAILABLE = 14


class OpenFailure(IntEnum):
    """Why a channel is not opened."""

    ADMINISTRATIVELY_PROHIBITED = 1
    CONNECT_FAILED = 2
    RESOURCE_SHORTAGE = 4


class DisconnectError(Exception):
    """The peer broke a rule: the connection ends, and the peer is told why.

    :param reason: for the peer's program.
    :param text: one line, for people on both sides.
    """

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason = reason
        self.text = text
