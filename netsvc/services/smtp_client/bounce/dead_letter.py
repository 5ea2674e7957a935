"""Keeps what can neither be delivered nor returned, in a Maildir for a person to look into. Blocking: for a thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from netsvc.services.smtp_client.bounce.facts import TargetFacts
from netsvc.services.smtp_client.encoded_words import ascii_field
from netsvc.services.smtp_client.maildir import deliver_to_maildir
from netsvc.services.smtp_client.replies import clean
from netsvc.services.smtp_client.terms import Envelope, Outcome


def keep_dead(root: Path, targets: Sequence[TargetFacts], content: bytes, *, unique: str) -> tuple[Outcome, ...]:
    """Write the message once for each recipient, with the reason in front; an outcome for each. Never raises OSError.

    A second call writes nothing twice.

    :param root: the Maildir; made when it is not there.
    :param unique: names the message for ever, as for :func:`deliver_to_maildir`.
    """
    outcomes: list[Outcome] = []
    for one in targets:
        code = f"{one.code} " if one.code is not None else ""
        reason = ascii_field("X-Netsvc-Dead-Letter", clean(f"{code}{one.status} {one.text}"))
        envelope = Envelope(sender="", recipients=(one.address,))
        outcomes += deliver_to_maildir(root, envelope, reason.encode() + content, unique=unique, indexes=[one.index])
    return tuple(outcomes)
