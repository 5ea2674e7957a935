"""The envelope on its way in: aliases, then the rules that rewrite addresses. Pure.

Aliases come first, because they know names without a domain; what they lead to is rewritten like any other recipient.
What the sender wants to hear about a recipient holds for all that he becomes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from attrs import frozen

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.aliases import MAX_TARGETS, Aliases, TooManyTargetsError
from netsvc.services.smtp_client.rewriting.rules import Rewriting
from netsvc.services.smtp_client.terms import NO_WISHES, Envelope, Notice


@frozen(kw_only=True)
class Arrival:
    """What is done to every envelope that comes in.

    :param local_domains: in lower case: at these a name may have an alias; one without a domain always may.
    """

    rewriting: Rewriting
    aliases: Aliases
    local_domains: Collection[str] = ()

    def envelope(
        self, sender: str, recipients: Collection[str], notices: Mapping[str, Notice], domain: str = ""
    ) -> Envelope:
        """The envelope as the queue keeps it: the sender, each recipient once, and the wishes under their new names.

        :param recipients: with or without a domain.
        :param notices: by recipient, as they came.
        :param domain: completes recipients where `origin` does not; empty: nothing does.
        :raises Refusal: the aliases lead to too many.
        """
        found: dict[str, Notice] = {}
        for recipient in recipients:
            notice = notices.get(recipient, NO_WISHES)
            try:
                ends = self.aliases.expand([recipient], self.local_domains)
            except TooManyTargetsError as error:
                raise Refusal("5.5.3", str(error)) from None
            for end in ends:
                if "@" not in end and domain and not self.rewriting.origin:
                    end = f"{end}@{domain}"  # noqa: PLW2901
                found.setdefault(self.rewriting.accepted(end, "envelope_recipient"), notice)
        if len(found) > max(MAX_TARGETS, len(recipients)):
            raise Refusal("5.5.3", f"the aliases lead to more than {MAX_TARGETS} recipients")
        return Envelope(
            sender=self.rewriting.accepted(sender, "envelope_sender"),
            recipients=tuple(found),
            notices={address: notice for address, notice in found.items() if notice != NO_WISHES},
        )
