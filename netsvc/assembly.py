"""A validated plan to one MultiService: every section's service, started and stopped as one.

Construction has no side effects: nothing is bound, opened or read before privilegedStartService.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized

from netsvc.config.plan import Plan
from netsvc.errors import StartError
from netsvc.runtime.privileges import check_state_directory, drop, identity
from netsvc.runtime.runtime import Runtime

log = Logger(namespace="netsvc")

THREADS_BOUND = 30.0  # seconds that work in threads has to end when all services have stopped


class Netsvc(MultiService):
    """All services of one daemon.

    Starting is all or nothing: a service that cannot start ends the start with a StartError, and every socket
    that was already bound is closed. Privileges drop between the last bind and the first start.

    :param refuse: called with a StartError when the daemon cannot start; it ends the process or raises.
    :param observer: the ILogObserver that twistd is to log to; None leaves that to twistd.
    """

    def __init__(
        self, plan: Plan, runtime: Runtime, refuse: Callable[[StartError], None], observer: Any = None
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.runtime = runtime
        self._plan = plan
        self._refuse = refuse
        self._observer = observer

    def setServiceParent(self, parent: Any) -> None:
        """Become part of twistd's application, which logs to the observer that stands in it."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        if self._observer is not None and isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)

    def privilegedStartService(self) -> None:
        settings = self._plan.daemon
        try:
            check_state_directory(self.runtime.state_directory, settings.user, settings.group)
            self._bind_all()
            self._give_socket_files()
            drop(settings.user, settings.group)
            self._name_unused_sockets()
        except StartError as error:
            self._abandon()
            self._refuse(error)

    def startService(self) -> None:
        Service.startService(self)
        for service in self:
            try:
                service.startService()
            except Exception as error:  # noqa: BLE001 - as in assemble
                self._abandon()
                self._refuse(StartError(_told(service.name, error)))
                return
        self.runtime.reactor.callWhenRunning(self._announce)

    def stopService(self) -> Deferred[Any]:
        """Stop every service; all of them, whatever goes wrong with one. What they had threads do is waited for."""
        self.running = 0
        log.info("stopping: connections may finish", event="stopping")
        ending = [
            maybeDeferred(service.stopService).addErrback(self._note, service) for service in reversed(list(self))
        ]
        stopped: Deferred[Any] = DeferredList(ending)
        stopped.addCallback(lambda _: self.runtime.threads.ended(THREADS_BOUND))
        return stopped.addCallback(self._stopped)

    def _stopped(self, all_done: bool) -> None:
        if not all_done:
            log.warn(
                "threads are still busy after {seconds:.0f} s: what depends on their work is not done",
                event="threads-busy",
                seconds=THREADS_BOUND,
            )
        log.info("stopped", event="stopped")

    def cut(self) -> None:
        """End all connections now: the operator does not want to wait for the drain."""
        for listening in self.runtime.listening:
            if listening.gate is not None:
                listening.gate.cut_all()

    def _bind_all(self) -> None:
        """Bind every listener, so that all that cannot be bound are named at once."""
        errors = []
        for service in self:
            try:
                service.privilegedStartService()
            except Exception as error:  # noqa: BLE001 - as in assemble
                errors.append(_told(service.name, error))
        if errors:
            raise StartError("\n".join(errors))

    def _give_socket_files(self) -> None:
        """Socket files are the daemon's user's and group's: a mode of 0660 means them, and not root who bound them."""
        wanted = identity(self._plan.daemon.user, self._plan.daemon.group)
        if wanted is not None and os.geteuid() == 0:
            for listening in self.runtime.listening:
                listening.give(-1 if wanted.uid is None else wanted.uid, wanted.gid)

    def _name_unused_sockets(self) -> None:
        """A socket of systemd's that nobody accepts on keeps its peers waiting for ever: somebody should know."""
        for descriptor, name in self.runtime.inherited.untaken:
            log.warn(
                "systemd passed the socket {name} in (descriptor {descriptor}), and no listen line takes it",
                event="socket-unused",
                name=name,
                descriptor=descriptor,
            )

    def _abandon(self) -> None:
        for listening in self.runtime.listening:
            listening.abandon()

    def _announce(self) -> None:
        places = [place for listening in self.runtime.listening for place in listening.where()]
        log.info(
            "ready: {services} services on {listeners} listeners",
            event="ready",
            services=len(self.services),
            listeners=len(places),
        )

    def _note(self, failure: Any, service: IService) -> None:
        log.failure("{service} did not stop in order", failure, event="stop-failed", service=service.name)


def assemble(plan: Plan, runtime: Runtime, refuse: Callable[[StartError], None], observer: Any = None) -> Netsvc:
    """Make the daemon's service from a plan; the parameters are Netsvc's.

    :raise StartError: naming every section whose kind cannot make its service.
    """
    top = Netsvc(plan, runtime, refuse, observer)
    errors = []
    for instance in plan.instances:
        try:
            make_service = instance.kind.load_make_service()
            service = make_service(instance.settings, runtime.for_section(instance.name))
        except Exception as error:  # noqa: BLE001 - a kind may be a third party's and fail in any way
            errors.append(_told(instance.name, error))
        else:
            service.setName(instance.name)
            service.setServiceParent(top)
    if errors:
        raise StartError("\n".join(errors))
    return top


def _told(name: str, error: Exception) -> str:
    """What a section's kind raised, as a clear line: its own words, or else the exception and its place."""
    if isinstance(error, StartError):
        text = str(error)
        return text if text.startswith(f"[{name}]") else f"[{name}] {text}"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"[{name}] its kind has a fault: {type(error).__name__}: {error} ({place.filename}:{place.lineno})"
