"""What follows from settlements: notices by the same stroke, dead letters into their Maildir."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from twisted.logger import Logger

from netsvc.interfaces import IRuntime
from netsvc.outbox.following import NotKeptError
from netsvc.outbox.model import Lease, Settlement, Submission
from netsvc.services.smtp_client.bounce.bouncer import Bouncer, FollowUp
from netsvc.services.smtp_client.bounce.collapse import Collapse
from netsvc.services.smtp_client.bounce.dead_letter import keep_dead
from netsvc.services.smtp_client.bounce.dsn import Origin
from netsvc.services.smtp_client.bounce.facts import TargetFacts
from netsvc.services.smtp_client.settings import SmtpClientSettings
from netsvc.services.smtp_client.way import unique_name

DEAD = "dead"  # the Maildir of what can neither be delivered nor returned, in the state directory

log = Logger()


def make_bouncer(settings: SmtpClientSettings, runtime: IRuntime, host: str) -> Bouncer:
    """The notices of one section."""
    address = settings.bounce_from or f"MAILER-DAEMON@{settings.origin or host}"
    return Bouncer(
        Origin(host=host, address=address, max_returned=settings.bounce_return),
        Collapse(settings.bounce_window),
        delay_after=settings.delay_notice,
        give_up_after=settings.give_up_after,
        queue=runtime.name,
    )


def follow_up(
    bouncer: Bouncer,
    notified: Callable[[Lease], Collection[str]],
    host: str,
    addressed: Callable[[Submission], Submission],
    runtime: IRuntime,
) -> Callable[[Lease, Settlement, bytes], tuple[Submission, ...]]:
    """What the outbox asks with each settlement; also from the thread of a store that opens.

    :param notified: see :meth:`.way.Way.notified`.
    :param host: our name.
    :param addressed: adds to a submission where its targets go.
    """

    def bury_here(lease: Lease, dead: tuple[TargetFacts, ...], content: bytes) -> None:
        bury(runtime, host, lease, dead, content)

    ask = FollowUp(bouncer=bouncer, now=time.time, bury=bury_here, notified=notified)

    def follow(lease: Lease, settlement: Settlement, content: bytes) -> tuple[Submission, ...]:
        return tuple(map(addressed, ask(lease, settlement, content)))

    return follow


def bury(runtime: IRuntime, host: str, lease: Lease, dead: tuple[TargetFacts, ...], content: bytes) -> None:
    """Keep dead letters. Blocks until they are on the disk: the settlement that comes next ends all custody of them.

    :raises NotKeptError: one is not, so that it must not end yet.
    """
    outcomes = keep_dead(runtime.state_directory / DEAD, dead, content, unique=unique_name(lease.item, host))
    failed = [one for one in outcomes if one.result != "delivered"]
    for one in failed:
        log.error(
            "{queue_id} to {target}: its dead letter cannot be kept, so it is tried again: {reason}",
            event="mail-dead-letter-not-kept",
            queue=runtime.name,
            queue_id=lease.item.queue_id,
            target=one.recipient,
            reason=one.text,
        )
    if failed:
        raise NotKeptError(failed[0].text)
