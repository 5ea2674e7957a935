"""The gate before every datagram service: guards against forged sources, admission, rate, bounded answers.

A datagram is dropped in silence and counted: an answer to a forged source is what the forger wants.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from twisted.internet.protocol import DatagramProtocol
from twisted.logger import Logger

from netsvc.config.server import ServerSettings
from netsvc.net import peer as peers
from netsvc.runtime.admission import Admission
from netsvc.runtime.datagram_guards import LOOP, LoopGuard, refuse
from netsvc.runtime.metrics import DATAGRAMS_ANSWERED, DATAGRAMS_DROPPED, DATAGRAMS_RECEIVED

log = Logger()


class DatagramAdmission:
    """What the UDP listeners of one service share: its rules, rates and counters.

    :param service: the section's name.
    :param responder: an IDatagramResponder.
    :param admission: who is let in, and how often.
    :param own_ports: every UDP port of this daemon.
    """

    def __init__(
        self,
        *,
        service: str,
        settings: ServerSettings,
        responder: Any,
        admission: Admission,
        own_ports: Container[int],
        clock: Any,
        metrics: Any,
    ) -> None:
        self._service = service
        self._guards = settings.datagram_guards
        self._responder = responder
        self._greatest = int(getattr(responder, "greatest_answer", 0))
        self._own_ports = own_ports
        self._admission = admission
        self._loops = LoopGuard(clock.seconds) if LOOP in settings.datagram_guards else None
        self._received = DATAGRAMS_RECEIVED.of(metrics, service=service)
        self._answered = DATAGRAMS_ANSWERED.of(metrics, service=service)
        self._dropped = DATAGRAMS_DROPPED.bind(metrics)

    def answer(self, request: bytes, host: str, port: int, on_loopback: bool) -> bytes | None:
        """The answer to one datagram, or None for silence."""
        self._received.inc()
        reason = self._refusal(request, host, port, on_loopback)
        if reason is not None:
            self.dropped(reason)
            return None
        limit = max(len(request), self._greatest)
        answer: bytes | None = self._responder.answer(request, (host, port), limit)
        if answer is not None and len(answer) > limit:
            self.dropped("amplification")
            return None
        return answer

    def sent(self) -> None:
        """Count an answer that left."""
        self._answered.inc()

    def dropped(self, reason: str) -> None:
        """Count a datagram that was dropped."""
        self._dropped.inc(service=self._service, reason=reason)

    def _refusal(self, request: bytes, host: str, port: int, on_loopback: bool) -> str | None:
        forged = refuse(host, port, guards=self._guards, own_ports=self._own_ports, arrived_on_loopback=on_loopback)
        if forged is not None:
            return forged
        refusal = self._admission.admit_datagram(host)
        if refusal is not None:
            return refusal.reason
        return LOOP if self._loops is not None and self._loops.seen((host, port), request) else None


class DatagramGate(DatagramProtocol):
    """One UDP listener."""

    noisy = False

    def __init__(self, admission: DatagramAdmission, on_loopback: bool) -> None:
        self._admission = admission
        self._on_loopback = on_loopback

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        host = peers.canonical_host(addr[0])
        try:
            answer = self._admission.answer(datagram, host, addr[1], self._on_loopback)
        except Exception:  # noqa: BLE001 - one datagram must not cost the others theirs
            log.failure("a datagram could not be answered", event="datagram-failed")
            return
        if answer is None or self.transport is None:
            return
        try:
            self.transport.write(answer, addr)
        except OSError:
            self._admission.dropped("send-failed")
        else:
            self._admission.sent()
