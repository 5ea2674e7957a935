"""Says where mail would go and how, as an attempt would have it now: asks the route itself, within a bound of time.

For ``netsvc mail explain`` and ``netsvc-sendmail -bv``. Names of credentials are told, and user names; secrets never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen
from twisted.internet.defer import Deferred, gatherResults

from netsvc.services.smtp_client.arrival import Arrival
from netsvc.services.smtp_client.routing.answers import Decision
from netsvc.services.smtp_client.routing.route import Hops, Local, Router
from netsvc.services.smtp_client.submission_wire import check_address
from netsvc.services.smtp_client.terms import Relay, TLSWish

PATIENCE = 20.0  # seconds for all look-ups of one answer, ours; the command waits longer
MOST = 20  # ways that one answer looks up, ours: who may ask is not always who may send so much

Words = Mapping[str, Sequence[str]]  # a word for each kind of thing, and the lines that belong to it


@frozen
class Asked:
    """One way that somebody wants to know.

    :param domain: behind the @ of a recipient.
    :param sender: the reverse-path.
    :param wish: what the message asks of TLS.
    """

    domain: str
    sender: str
    wish: TLSWish = field(factory=TLSWish)


@frozen
class Told:
    """One way.

    :param rule: which option says so, with its line, and what it says.
    """

    rule: str
    found: Hops | Local | Decision

    @property
    def hosts(self) -> list[str]:
        """The servers in the order in which they are tried; or the Maildir."""
        match self.found:
            case Hops(relays):
                return [_host(one) for one in relays]
            case Local(maildir):
                return [str(maildir)]
        return []

    def words(self) -> Words:
        """All of it, for people."""
        match self.found:
            case Decision(result, code, enhanced, text):
                then = "it is tried again" if result == "retry" else "it is returned"
                return {"rule": [self.rule], "no way": [f"{code} {enhanced} {text}; {then}"]}
            case Hops(relays):
                return {"rule": [self.rule], "server": [_server(one) for one in relays]}
        return {"rule": [self.rule], "kept in": self.hosts}


class Guide:
    """Knows the ways of one section.

    :param arrival: what becomes of envelopes.
    :param clock: an IReactorTime.
    """

    def __init__(self, router: Router, arrival: Arrival, clock: Any) -> None:
        self._router = router
        self._arrival = arrival
        self._clock = clock

    async def ways(self, asked: Sequence[Asked]) -> list[Told]:
        """Look these up, all at the same time; never raises."""
        looked: Any = await gatherResults([self._way(one) for one in asked])
        return list(looked)

    def recipients(self, name: str, sender: str, domain: str = "") -> tuple[str, tuple[str, ...]]:
        """The sender, and whom a message to a name would be for: aliases and rewriting as for every message.

        :param domain: of names that nothing else completes.
        :raises Refusal: it cannot be.
        """
        envelope = self._arrival.envelope(sender, [name], {}, domain)
        for one in filter(None, (envelope.sender, *envelope.recipients)):
            check_address(one)
        return envelope.sender, envelope.recipients

    def _way(self, asked: Asked) -> Deferred[Told]:
        place, source = self._router.rule(asked.domain, asked.sender)

        def too_long(_: object, seconds: float) -> Decision:
            return Decision.later("4.4.3", f"the look-up took longer than {seconds:g} seconds")

        looked: Deferred[Any] = Deferred.fromCoroutine(
            self._router.route(asked.domain, asked.sender, asked.wish)
        ).addTimeout(PATIENCE, self._clock, too_long)
        return looked.addCallback(lambda found: Told(f"{source}: {place}", found))


def _host(relay: Relay) -> str:
    return f"{relay.host} [{relay.address}]" if relay.address else relay.host


def _server(relay: Relay) -> str:
    scheme = "smtps" if relay.implicit else "smtp"
    login = f"; login as {relay.username}, by {relay.login_source}" if relay.username is not None else ""
    return f"{_host(relay)}, {scheme} port {relay.port}; TLS: {relay.tls}, by {relay.tls_source}{login}"
