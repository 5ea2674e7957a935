"""What a listener offers, and what its conversations want done outside. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen


@frozen(kw_only=True)
class Terms:
    """What one listener offers.

    :param host: our name.
    :param max_message: octets.
    :param login: whether senders must log in; then they can under TLS or when they are near.
    :param starttls: whether there is a certificate.
    """

    host: str
    max_message: int
    max_recipients: int
    login: bool
    starttls: bool


@frozen
class Login:
    """Somebody wants to log in: answer with logged_in or login_refused."""

    user: str
    password: str = field(repr=False)


@frozen
class Room:
    """A message is about to come: answer with go_ahead when there is memory for it.

    :param octets: how long it will be; None when that is not said.
    """

    octets: int | None


@frozen(kw_only=True)
class Message:
    """A message is here: answer with taken or refused."""

    sender: str
    recipients: tuple[str, ...]
    meta: Mapping[str, str]
    content: bytes = field(repr=False)


@frozen
class StartTls:
    """Send what is to be sent, begin TLS, and say secured."""


@frozen
class End:
    """Send what is to be sent and close.

    :param said_all: the peer took its leave, and sent nothing behind that.
    """

    said_all: bool = False


Event = Login | Room | Message | StartTls | End
