"""The message on its way out: stamped, rewritten, signed, in this order. Pure, and slow where it signs: for a thread.

All follows from the item and the settings, so that a second attempt sends the same octets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
from attrs import frozen

from netsvc.outbox.model import Item
from netsvc.services.smtp_client.dkim import signed
from netsvc.services.smtp_client.dkim_keys import DkimKey
from netsvc.services.smtp_client.rewriting.headers import rewrite_head
from netsvc.services.smtp_client.rewriting.rules import Rewriting
from netsvc.services.smtp_client.terms import Envelope, Notice, Outcome
from netsvc.services.smtp_client.trace import stamp
from netsvc.services.smtp_client.wire import CANONICAL


@frozen(kw_only=True)
class Departure:
    """What is done to every message that leaves.

    :param host: our name.
    :param by_smtp: it leaves by SMTP: the generic table is used and keys sign. A Maildir gets neither.
    """

    host: str
    rewriting: Rewriting
    keys: tuple[DkimKey, ...] = ()
    by_smtp: bool

    def message(self, item: Item, content: bytes) -> bytes:
        """The message to send.

        :param content: as it was handed in.
        """
        is_canonical = CANONICAL in item.meta
        content = stamp(
            content,
            queue_id=item.queue_id,
            accepted_at=item.accepted_at,
            sender=item.sender,
            submitter=item.submitter,
            host=self.host,
            protocol=item.meta.get("protocol", ""),
            is_canonical=is_canonical,
        )
        content = rewrite_head(content, self.rewriting, outgoing=self.by_smtp)
        if not self.by_smtp:
            return content
        return signed(content, self.keys, now=item.accepted_at, is_canonical=is_canonical)

    def envelope(self, envelope: Envelope) -> tuple[Envelope, Mapping[str, str]]:
        """The envelope to send, and the name in it of each recipient that the queue has.

        Two recipients that become one stand in it once.
        """
        if not (self.by_smtp and self.rewriting.generic):
            return envelope, {one: one for one in envelope.recipients}
        names = {one: self.rewriting.outgoing(one) for one in envelope.recipients}
        notices: dict[str, Notice] = {}
        for address, notice in envelope.notices.items():
            notices.setdefault(names.get(address, address), notice)
        made = attrs.evolve(
            envelope,
            sender=self.rewriting.outgoing(envelope.sender),
            recipients=tuple(dict.fromkeys(names.values())),
            notices=notices,
        )
        return made, names


def by_queue_name(outcomes: Iterable[Outcome], names: Mapping[str, str]) -> tuple[Outcome, ...]:
    """The outcomes with the recipients' names in the queue; who stood for two has two.

    :param names: as :meth:`Departure.envelope` gave them.
    """
    found = {one.recipient: one for one in outcomes}
    return tuple(attrs.evolve(found[new], recipient=old) for old, new in names.items() if new in found)
