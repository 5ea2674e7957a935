"""What the room asks of the DNS, and what it hears: one narrow interface, frozen answers. No I/O, no Twisted."""

from __future__ import annotations

from typing import Generic, Literal, Protocol, TypeVar

from attrs import frozen

from netsvc.services.smtp_client.replies import clean

T = TypeVar("T")

Status = Literal["found", "nothing", "no-name", "failed"]


@frozen
class Answer(Generic[T]):
    """What is known of one name and type.

    :param status: ``found``: there are records; ``nothing``: the name exists without such records; ``no-name``: it does
        not exist (NXDOMAIN); ``failed``: nobody answered, or with SERVFAIL: nothing is known.
    :param name: the name after all aliases (CNAME), in small letters and A-labels, without final dot.
    :param secure: a resolver that we believe has validated all of it with DNSSEC; so it may be said of an absence.
    :param ttl: seconds that this holds.
    :param reason: why it failed, in words.
    """

    status: Status
    records: tuple[T, ...] = ()
    name: str = ""
    secure: bool = False
    ttl: int = 0
    reason: str = ""


@frozen(order=True)
class MX:
    """RFC 1035 3.3.9.

    :param host: as :attr:`Answer.name`; empty for the root, which is the null MX of RFC 7505.
    """

    preference: int
    host: str


@frozen
class TLSA:
    """RFC 6698 2.1, any numbers: which of them mean something is for :mod:`.dane` to say."""

    usage: int
    selector: int
    matching: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching}"


class Resolve(Protocol):
    """Looks names up. Nothing here raises: what goes wrong is an answer that failed."""

    async def mx(self, domain: str) -> Answer[MX]:
        """The hosts that take mail for a domain."""

    async def addresses(self, host: str) -> Answer[str]:
        """IPv6 and IPv4 addresses, in turn, as far as there are both; secure only if every one is."""

    async def txt(self, name: str) -> Answer[str]:
        """Texts, the strings of each joined (RFC 7208 3.3); octets that are no ASCII are replaced."""

    async def tlsa(self, host: str, port: int) -> Answer[TLSA]:
        """The records at ``_PORT._tcp.HOST``."""


@frozen
class Decision:
    """Mail is not sent there, and why.

    :param result: ``retry``: perhaps later; ``permanent``: never.
    :param code: the SMTP code that a server would give.
    :param enhanced: RFC 3463.
    :param text: one line for people, printable.
    """

    result: Literal["retry", "permanent"]
    code: int
    enhanced: str
    text: str

    @classmethod
    def never(cls, enhanced: str, text: str, code: int = 550) -> Decision:
        """It will never be delivered so."""
        return cls("permanent", code, enhanced, clean(text))

    @classmethod
    def later(cls, enhanced: str, text: str) -> Decision:
        """It may be delivered later."""
        return cls("retry", 451, enhanced, clean(text))
