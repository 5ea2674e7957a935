"""A mail transaction under way: sender, recipients and what has come of the message. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.listener.commands import Mail, Rcpt
from netsvc.services.smtp_client.wire import CANONICAL, LARGE
from netsvc.services.smtp_client.wishes import to_meta


class Transaction:
    """From MAIL to the end of the message.

    :param meta: what is known of it beside the recipients.
    :param largest: octets that a message may have.
    :ivar attempts: RCPT commands so far.
    :ivar chunked: BDAT has begun.
    """

    def __init__(self, mail: Mail, *, meta: Mapping[str, str], largest: int) -> None:
        self.mail = mail
        self.recipients: dict[str, Rcpt] = {}
        self.attempts = 0
        self.chunked = False
        self._meta = meta
        self._largest = largest
        self._octets: bytes | bytearray = b""
        self._refusal: Refusal | None = None
        self._is_canonical = False

    @property
    def size(self) -> int | None:
        """Octets that MAIL announced."""
        return self.mail.size

    @property
    def held(self) -> int:
        """Octets in memory."""
        return len(self._octets)

    def add(self, rcpt: Rcpt) -> None:
        """One more recipient; one that is there already stays as it is."""
        self.recipients.setdefault(rcpt.recipient, rcpt)

    def append(self, octets: bytes, *, is_canonical: bool = False) -> None:
        """More of the message.

        :param is_canonical: this is all of it, and its line ends are known to be CR LF.
        """
        self._is_canonical = is_canonical and len(octets) >= LARGE
        if self._refusal is not None:
            return
        if len(self._octets) + len(octets) > self._largest:
            self.drop(Refusal("5.3.4", f"the message is larger than {self._largest} octets"))
        elif not self._octets:
            self._octets = octets
        else:
            if isinstance(self._octets, bytes):
                self._octets = bytearray(self._octets)
            self._octets += octets

    def drop(self, refusal: Refusal) -> None:
        """Keep nothing of the message; the first reason is the one that is told."""
        self._refusal = self._refusal or refusal
        self._octets = b""

    def content(self) -> bytes:
        """The message.

        :raises Refusal: it was dropped.
        """
        if self._refusal is not None:
            raise self._refusal
        content, self._octets = bytes(self._octets), b""
        return content

    def all_meta(self) -> Mapping[str, str]:
        """What the outbox keeps beside the message."""
        notices = {address: one.notice for address, one in self.recipients.items()}
        mail = self.mail
        known = {CANONICAL: "yes"} if self._is_canonical else {}
        return {**self._meta, **known, **to_meta(mail.ret, mail.envid, notices, require_tls=mail.require_tls)}
