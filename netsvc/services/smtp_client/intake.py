"""Takes messages into the outbox for the ways in that speak others' protocols: looks at them, keeps, logs, counts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

import attrs
from twisted.logger import Logger

from netsvc.interfaces import IMetrics
from netsvc.net.json_lines import Refusal
from netsvc.outbox.model import (
    Accepted,
    KeyConflictError,
    OutboxError,
    StoreFullError,
    Submission,
    SuppressedError,
)
from netsvc.outbox.runner import Runner
from netsvc.services.smtp_client.aliases import Aliases
from netsvc.services.smtp_client.arrival import Arrival
from netsvc.services.smtp_client.rewriting.rules import Rewriting
from netsvc.services.smtp_client.submission_wire import MAX_KEY, check_address
from netsvc.services.smtp_client.trace import examine, split_head
from netsvc.services.smtp_client.wishes import to_envelope, to_meta

KEY_FIELD = b"netsvc-idempotency-key"

_KEY_VALUE = re.compile(rb"[^:]*:[ \t]*([!-~](?:[ -~]*[!-~])?)[ \t]*\r?\n?")


def check_key(key: str) -> str:
    """An idempotency key, if it may be one.

    :raises Refusal: it may not.
    """
    if not (0 < len(key) <= MAX_KEY and key.isprintable()):
        raise Refusal("5.5.4", f"a key has 1 to {MAX_KEY} printable characters")
    return key


def take_key(content: bytes) -> tuple[str | None, bytes]:
    """The key in the field ``Netsvc-Idempotency-Key`` of a message, and the message without that field.

    :raises Refusal: it is there twice, folded, or is no key.
    """
    head = split_head(content)
    found = [field for name, field in head.fields if name == KEY_FIELD]
    if not found:
        return None, content
    match = _KEY_VALUE.fullmatch(found[0])
    if match is None or len(found) > 1:
        raise Refusal("5.5.4", "a Netsvc-Idempotency-Key stands once, on one line")
    key = check_key(match[1].decode())
    rest = b"".join(field for name, field in head.fields if name != KEY_FIELD)
    start = head.end - sum(len(field) for _, field in head.fields)  # behind an mbox line, if there is one
    return key, b"".join((content[:start], rest, memoryview(content)[head.end :]))


AS_IT_IS = Arrival(rewriting=Rewriting(origin=""), aliases=Aliases())


def nowhere(_domain: str, _sender: str) -> str:
    """All goes one way, which has no word."""
    return ""


def destinations(targets: Iterable[str], sender: str, destination: Callable[[str, str], str]) -> tuple[str, ...]:
    """The word for where each of the targets goes.

    :param destination: of a domain and a sender: see :meth:`.routing.route.Router.destination`.
    """
    domains = [target.rpartition("@")[2] for target in targets]
    words = {domain: destination(domain, sender) for domain in dict.fromkeys(domains)}
    return tuple([words[domain] for domain in domains])


def addressed(submission: Submission, destination: Callable[[str, str], str]) -> Submission:
    """The submission with the word for where each of its targets goes."""
    return attrs.evolve(submission, destinations=destinations(submission.targets, submission.sender, destination))


class Intake:
    """Where messages are handed in, whichever way they come.

    :param runner: the outbox.
    :param arrival: what becomes of envelopes.
    :param destination: the word for where mail to a domain goes, of a sender: see :meth:`.routing.route.Router`.
    """

    def __init__(
        self,
        runner: Runner,
        metrics: IMetrics,
        arrival: Arrival = AS_IT_IS,
        destination: Callable[[str, str], str] = nowhere,
    ) -> None:
        self._runner = runner
        self._arrival = arrival
        self._destination = destination
        self._log = Logger(namespace=__name__)
        self._refusals = metrics.counter("mail_submissions_refused", "Messages that were not taken.", ("queue", "code"))

    async def take(
        self,
        *,
        submitter: str,
        sender: str,
        recipients: tuple[str, ...],
        content: bytes,
        key: str | None,
        meta: Mapping[str, str],
        domain: str = "",
    ) -> Accepted:
        """Take custody of a message: when this returns it is on the disk.

        :param submitter: such as ``smtp:joe@192.0.2.1``; keys are his own.
        :param meta: what the sender wants to hear (see :mod:`.wishes`), and what else is to be kept.
        :param domain: of recipients that nothing else completes.
        :raises Refusal: and nothing of it is kept.
        """
        try:
            examine(content)
            said = to_envelope(sender, recipients, meta)
            envelope = self._arrival.envelope(sender, recipients, said.notices, domain)
            for address in filter(None, (envelope.sender, *envelope.recipients)):
                check_address(address)
            kept = {name: value for name, value in meta.items() if name != "notices"}
            accepted = await self._runner.accept(
                Submission(
                    submitter=submitter,
                    sender=envelope.sender,
                    targets=envelope.recipients,
                    content=content,
                    key=key,
                    meta={**kept, **to_meta(said.ret or "", said.envid, envelope.notices)},
                    destinations=destinations(envelope.recipients, envelope.sender, self._destination),
                )
            )
        except Refusal as refusal:
            raise self.refused(refusal, submitter) from None
        except KeyConflictError as error:
            raise self.refused(Refusal("5.5.4", str(error)), submitter) from None
        except SuppressedError as error:
            raise self.refused(Refusal("5.7.1", str(error)), submitter) from None
        except StoreFullError as error:
            raise self.refused(Refusal("4.3.1", str(error)), submitter) from None
        except OutboxError as error:
            raise self.refused(Refusal("4.3.0", str(error)), submitter) from None
        except Exception:  # noqa: BLE001 - one message's fault must not become the daemon's
            self._log.failure("a request failed by a fault of ours", event="mail-submission-fault")
            raise Refusal("4.3.0", "a fault in the daemon; its log says more") from None
        self._log.info(
            "{queue_id} from {sender} of {peer}: {octets} octets to {recipients} recipients",
            event="mail-accepted",
            queue=self._runner.queue,
            queue_id=accepted.queue_id,
            sender=sender,
            peer=submitter,
            octets=len(content),
            recipients=len(recipients),
            repeated=accepted.repeated,
        )
        return accepted

    def refused(self, refusal: Refusal, submitter: str) -> Refusal:
        """The same refusal, logged and counted."""
        self._refusals.inc(queue=self._runner.queue, code=refusal.code)
        self._log.info(
            "refused a request of {peer}: {code} {reason}",
            event="mail-submission-refused",
            queue=self._runner.queue,
            peer=submitter,
            code=refusal.code,
            reason=refusal.text,
        )
        return refusal
