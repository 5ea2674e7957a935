"""DNS questions to octets, and octets to answers. No I/O, no Twisted; dnspython knows the format.

A question asks for recursion and for AD (RFC 6840 5.7), and says how much we take (RFC 6891): 1,232 octets, which pass
everywhere unfragmented. What is longer comes again over TCP.
"""

from __future__ import annotations

from typing import Any, Literal

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
from attrs import frozen

from netsvc.services.smtp_client.routing.answers import MX, TLSA, Answer

MAX_DATAGRAM = 1232  # octets, as DNS servers agreed in 2020
MAX_TTL = 86400  # seconds, ours: who changes hosts does not want to wait for a week
MAX_NEGATIVE_TTL = 10800  # seconds, RFC 2308 5

MALFORMED = TLSA(255, 255, 255, b"")  # stands for records that cannot be read; no such use is known

Kind = Literal["MX", "A", "AAAA", "TXT", "TLSA"]


class Truncated(Exception):  # noqa: N818 - what it is, not an error
    """The answer is longer than a datagram: ask over TCP."""


class NotOurs(Exception):  # noqa: N818 - as above
    """The octets are no answer to the question: they may be forged, and the true one may still come."""


@frozen
class Question:
    """One question.

    :param name: in A-labels.
    :param number: 0 to 65535, by chance: a forger must guess it.
    """

    name: str
    kind: Kind
    number: int

    def octets(self) -> bytes:
        """The message. ValueError: it is not a name."""
        try:
            query = dns.message.make_query(
                self.name,
                self.kind,
                use_edns=0,
                payload=MAX_DATAGRAM,
                id=self.number,
                flags=dns.flags.RD | dns.flags.AD,
            )
            return query.to_wire()
        except dns.exception.DNSException:
            raise ValueError(f"{self.name!r} is not a name in the DNS") from None

    def read(self, octets: bytes, *, believed: bool, datagram: bool) -> Answer[Any]:
        """What a server said.

        :param believed: its AD flag counts.
        :param datagram: a truncated answer may be asked for again.
        :raises NotOurs: it is something else.
        :raises Truncated: it was cut.
        """
        try:
            message = dns.message.from_wire(octets, continue_on_error=True)
        except (dns.exception.DNSException, ValueError):
            raise NotOurs from None
        if not isinstance(message, dns.message.QueryMessage) or not self._asked(message):
            raise NotOurs
        if message.flags & dns.flags.TC:
            if datagram:
                raise Truncated
            return Answer("failed", reason="the answer is cut")
        if message.errors and self.kind != "TLSA":
            return Answer("failed", reason="the answer is malformed")
        return _answer(message, self.kind, believed)

    def _asked(self, message: dns.message.QueryMessage) -> bool:
        if not message.flags & dns.flags.QR or message.id != self.number or len(message.question) != 1:
            return False
        (question,) = message.question
        return question.name == dns.name.from_text(self.name) and question.rdtype == dns.rdatatype.from_text(self.kind)


def _answer(message: dns.message.QueryMessage, kind: Kind, believed: bool) -> Answer[Any]:
    rcode = message.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Answer("failed", reason=dns.rcode.to_text(rcode))
    try:
        chain = message.resolve_chaining()
    except (dns.exception.DNSException, ValueError):
        return Answer("failed", reason="the aliases do not end, or contradict each other")
    name = _plain(chain.canonical_name)
    secure = believed and bool(message.flags & dns.flags.AD)
    records = tuple(_record(kind, one) for one in chain.answer or ())
    if message.errors:
        # RFC 7672 2.2: records that are there and cannot be used are not the same as none.
        records += (MALFORMED,)
    if records:
        return Answer("found", records, name, secure, min(chain.minimum_ttl, MAX_TTL))
    ttl = min(chain.minimum_ttl, MAX_NEGATIVE_TTL)
    if rcode == dns.rcode.NXDOMAIN:
        return Answer("no-name", (), name, secure, ttl)
    if not message.flags & (dns.flags.RA | dns.flags.AA):
        return Answer("failed", reason="the server does not look names up for us")
    return Answer("nothing", (), name, secure, ttl)


def _plain(name: dns.name.Name) -> str:
    return "" if name == dns.name.root else name.to_text(omit_final_dot=True).lower()


def _record(kind: Kind, data: Any) -> Any:
    match kind:
        case "MX":
            return MX(data.preference, _plain(data.exchange))
        case "TXT":
            return b"".join(data.strings).decode("ascii", "replace")
        case "TLSA":
            return TLSA(data.usage, data.selector, data.mtype, data.cert)
        case _:
            return str(data.address)
