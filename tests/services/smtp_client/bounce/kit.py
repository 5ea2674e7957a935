"""Facts to make notices of, and how a reader sees a notice."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from types import MappingProxyType
from typing import Any

from netsvc.outbox.model import Item, Lease, Outcome, Settlement, Target, TargetState
from netsvc.services.smtp_client.bounce.dsn import Origin
from netsvc.services.smtp_client.bounce.facts import ItemFacts, TargetFacts

NOW = 1_700_000_000.0
HOUR = 3600.0
CONTENT = b"From: a@x.example\r\nMessage-ID: <m@x.example>\r\nSubject: hello\r\n\r\nthe body\r\n"
ORIGIN = Origin(host="mail.here.example", address="MAILER-DAEMON@here.example", max_returned=50_000)


def item(**changed: Any) -> ItemFacts:
    """A message."""
    return ItemFacts(**{"queue_id": "0123456789abcde", "sender": "ann@x.example", "accepted_at": NOW - HOUR, **changed})


def target(**changed: Any) -> TargetFacts:
    """A recipient who does not exist."""
    return TargetFacts(
        **{
            "address": "bob@y.example",
            "index": 0,
            "action": "failed",
            "status": "5.1.1",
            "code": 550,
            "enhanced": "5.1.1",
            "text": "no such user",
            "remote": "mx.y.example",
            "attempted_at": NOW,
            **changed,
        }
    )


def lease(
    sender: str = "ann@x.example",
    waited: float = 0.0,
    targets: tuple[str, ...] = ("bob@y.example",),
    queue_id: str = "q1",
) -> Lease:
    """The lease of an attempt."""
    return Lease(
        item=Item(
            queue_id=queue_id,
            submitter="uid:1",
            sender=sender,
            key=None,
            meta=MappingProxyType({}),
            size=1,
            sha256="",
            accepted_at=NOW,
            state="leased",
            attempts=0,
            recoveries=0,
            waited=waited,
            scheduled_at=NOW,
            next_at=NOW,
        ),
        targets=tuple(Target(index=at, address=one) for at, one in enumerate(targets)),
        owner="o",
        fence=1,
        claimed_at=NOW,
    )


def settlement(
    *states: tuple[str, TargetState],
    waited: float = 0.0,
    via: str = "smtp:mx.y.example:25",
    enhanced: str | None = "5.1.1",
) -> Settlement:
    """What an attempt came to: (address, state) each."""
    results: dict[str, Any] = {
        "delivered": "delivered",
        "waiting": "retry",
        "expired": "retry",
        "ambiguous": "ambiguous",
    }
    return Settlement(
        outcomes=tuple(
            (
                Outcome(
                    target=one,
                    result=results.get(state, "permanent"),
                    code=550,
                    enhanced=enhanced,
                    text="words",
                    via=via,
                ),
                state,
            )
            for one, state in states
        ),
        next_at=None,
        waited=waited,
    )


class Report:
    """A notice as the standard library reads it."""

    def __init__(self, octets: bytes) -> None:
        assert b"\n" not in octets.replace(b"\r\n", b""), "a line end that is not CR LF"
        assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
        message = message_from_bytes(octets, policy=policy.default)
        assert isinstance(message, EmailMessage)
        assert not message.defects, message.defects
        assert message.get_content_type() == "multipart/report"
        assert message.get_param("report-type") == "delivery-status"
        self.message = message
        self.parts: list[Any] = list(message.iter_parts())
        assert not any(part.defects for part in self.parts)

    @property
    def words(self) -> str:
        """The part for people."""
        return str(self.parts[0].get_content()).replace("\r\n", "\n")

    @property
    def groups(self) -> list[Message]:
        """The groups of fields for programs: of the message, then of each recipient."""
        part = self.parts[1]
        if part.get_content_type() == "message/delivery-status":
            return list(part.get_payload())
        # The standard library does not know the international form; it has the same fields in UTF-8.
        text = part.as_bytes().partition(b"\n\n")[2]
        return [message_from_bytes(one, policy=policy.default) for one in text.split(b"\n\n") if one.strip()]
