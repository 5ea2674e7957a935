"""A process with one mail service on the real reactor, which may kill itself with SIGKILL at a given point.

    python mail_child.py STATE_DIRECTORY RELAY [KILL_AT]

KILL_AT: ``accepted``: the message is committed and not acknowledged; ``delivered``: it is in the Maildir, which is not
recorded. Prints "ready" when the socket is there.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import IService, Service
from twisted.internet import reactor as real_reactor
from twisted.internet.threads import deferToThread

from netsvc.config.options import Context
from netsvc.outbox.sqlite_database import Database
from netsvc.outbox.sqlite_store import SqliteStore
from netsvc.services.smtp_client.routing.places import a_place
from netsvc.services.smtp_client.service import make_service
from netsvc.services.smtp_client.settings import SmtpClientSettings
from tests.fakes import FakeMetrics

reactor: Any = real_reactor


class Listener(Service):
    """Listens where the settings say, without admission."""

    def __init__(self, settings: Any, factory: Any) -> None:
        self._settings = settings
        self._factory = factory
        self._ports: list[Any] = []

    def startService(self) -> None:
        Service.startService(self)
        for address in self._settings.listen:
            address.path.unlink(missing_ok=True)
            self._ports.append(reactor.listenUNIX(str(address.path), self._factory, mode=address.mode))

    def stopService(self) -> Any:
        Service.stopService(self)
        self._factory.drain()
        return self._ports.pop().stopListening()


class Runtime:
    """What the service is handed."""

    reactor = reactor
    name = "smtp_client"
    metrics = FakeMetrics()

    def __init__(self, state_directory: Path) -> None:
        self.state_directory = state_directory

    def serve(self, settings: Any, stream: Any = None, datagram: Any = None) -> IService:
        return Listener(settings, stream)

    def offer(self, thing: Any) -> None: ...

    def offered(self, name: str) -> None: ...

    def in_thread(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return deferToThread(function, *args, **kwargs)


def die(*_: object) -> None:
    """End as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def main(state: str, relay_text: str, kill_at: str = "") -> None:
    """Run until SIGTERM."""
    if kill_at == "accepted":
        accept = SqliteStore.accept
        SqliteStore.accept = lambda *a: accept(*a).addCallback(die)  # type: ignore[method-assign, assignment]
    elif kill_at == "delivered":
        Database.settle = die  # type: ignore[method-assign, assignment]
    settings = SmtpClientSettings(
        relay=a_place().parse(relay_text, Context(Path(state))), tls="none", helo_name="here.example"
    )
    service = make_service(settings, Runtime(Path(state)))  # type: ignore[arg-type]
    reactor.callWhenRunning(service.startService)
    reactor.callWhenRunning(lambda: print("ready", flush=True))
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
