"""Starts scripts warm where that makes no difference to them, and with exec otherwise. Is a `Start`.

A warm child has no process id until its fork server has reported it: signals wait until then. When the server ends,
or hangs, before it has reported, the script is executed.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from subprocess import DEVNULL
from typing import Any

from twisted.logger import Logger

from netsvc.services.http.cgi.child import Child, Command, ExitWatch, ScriptStartError, Start, start_child
from netsvc.services.http.cgi.procfs import become_subreaper
from netsvc.services.http.cgi.settings import CgiSettings
from netsvc.services.http.cgi.warm.server import ForkServer, start_server
from netsvc.services.http.cgi.warm.shebang import Cold, Identity, Interpreter, identity, read_interpreter
from netsvc.services.http.cgi.warm.wire import request

log = Logger()

RUNS = 1000  # scripts of one server: after so many the hashes of str are others
WORTH = 2  # runs of a script until it gets a layer
BARE = 600.0  # seconds until a script that was worth no layer is looked at again
UNFIT = 60.0  # seconds until an interpreter that did not become a server is tried again
STALE = 5.0  # seconds until one whose layer had become stale is
MAX_KNOWN = 1000  # scripts whose first line is remembered
MAX_TOLD = 1000  # reasons that are remembered as told

# What an interpreter reads of its environment when it starts, itself or by its C library: site-wide code can read
# anything, so whatever the settings add counts as well.
_PREFIXES = ("PYTHON", "LC_", "LD_", "MALLOC_", "GLIBC_", "OPENSSL_", "SSL_")
_NAMES = frozenset({"PATH", "LANG", "LANGUAGE", "TZ", "TZDIR", "HOME", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__", "TMPDIR"})

Key = tuple[tuple[bytes, ...], bytes, tuple[tuple[str, str], ...]]


LayerKey = tuple[Key, str, Identity]


class WarmChild:
    """A script that a fork server starts.

    :param command: what to execute instead, when the server fails.
    :param descriptors: its stdin, stdout and stderr; closed when they are not needed any more.
    :param told: called with the reason when it was executed.
    :param cold: executes it.
    """

    def __init__(
        self,
        reactor: Any,
        command: Command,
        descriptors: tuple[int, int, int],
        told: Callable[[str], None],
        cold: Start = start_child,
    ) -> None:
        self._reactor = reactor
        self._command = command
        self._descriptors = descriptors
        self._told = told
        self._cold = cold
        self._exited: Callable[[], None] | None = None
        self._known: list[Callable[[int], None]] = []
        self._signals: list[int] = []
        self._instead: Child | None = None
        self._status: int | None = None
        self._watch: ExitWatch | None = None
        self.pid = 0

    def poll(self) -> int | None:
        """As Child."""
        if self._status is None and self._instead is not None:
            self._status = self._instead.poll()
        elif self._status is None and self.pid:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody else has reaped it
                self._status = 0
            else:
                self._status = os.waitstatus_to_exitcode(status) if pid else None
        return self._status

    def watch(self, reactor: Any, exited: Callable[[], None]) -> object:
        """As Child."""
        self._exited = exited
        if self.pid:
            self._watch = ExitWatch(reactor, self.pid, exited)
        return self._watch

    def look(self) -> None:
        """As Child."""
        if self._watch is not None:
            self._watch.look()

    def known(self, call: Callable[[int], None]) -> None:
        """As Child."""
        if self.pid:
            call(self.pid)
        else:
            self._known.append(call)

    def signal_later(self, number: int) -> bool:
        """As Child."""
        if self._status is not None:
            return False
        self._signals.append(number)
        return True

    def started(self, pid: int, reason: str) -> None:
        """As Wanted."""
        if reason:
            self._told(reason)
        self._close()
        self._runs(pid)

    def failed(self, reason: str) -> None:
        """As Wanted: execute it."""
        self._told(reason)
        if self._signals:
            self._close()
            self._never()
            return
        try:
            self._instead = self._cold(self._command, *self._descriptors)
        except ScriptStartError as error:
            log.error(
                "{script}: {reason}", event="cgi-start-failed", script=self._command.arguments[0], reason=str(error)
            )
            self._close()
            self._never()
        else:
            self._close()
            self._runs(self._instead.pid)

    def _runs(self, pid: int) -> None:
        self.pid = pid
        for call in self._known:
            call(pid)
        if self._exited is not None:
            self._watch = ExitWatch(self._reactor, pid, self._exited)
        for number in self._signals:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, number)

    def _never(self) -> None:
        """Nothing ran, and nothing will."""
        self._status = -self._signals[0] if self._signals else 127  # as a shell says of what it cannot run
        if self._exited is not None:
            self._reactor.callLater(0, self._exited)

    def _close(self) -> None:
        for one in self._descriptors:
            os.close(one)


class WarmStart:
    """Starts the scripts of one engine.

    :param settings: its options.
    :param cold: starts what is not warm.
    :param serve: starts fork servers.
    :param legacy: tells the directory that `cgi_legacy` offers, empty for none.
    :param claim: told the process id of every server that starts.
    :param release: told it when the server is reaped.
    """

    def __init__(
        self,
        settings: CgiSettings,
        reactor: Any,
        *,
        cold: Start = start_child,
        serve: Callable[..., ForkServer] = start_server,
        legacy: Callable[[], str] = lambda: "",
        claim: Callable[[int], None] = lambda _: None,
        release: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._reactor = reactor
        self._cold = cold
        self._serve = serve
        self._legacy = legacy
        self._claim = claim
        self._release = release
        self._names = _NAMES | {name for name, _ in settings.cgi_env} | set(settings.cgi_pass_env)
        self._scripts: dict[str, tuple[Identity, str, Interpreter | Cold]] = {}
        self._servers: OrderedDict[Key, ForkServer] = OrderedDict()
        self._successors: dict[Key, ForkServer] = {}
        self._unfit: dict[Key, tuple[tuple[tuple[bytes, Identity], ...], float, str]] = {}
        self._layers: OrderedDict[LayerKey, ForkServer] = OrderedDict()
        self._next_layers: dict[LayerKey, ForkServer] = {}  # which follow one that is worn
        self._bare: dict[LayerKey, float] = {}  # those that are not worth one now, until when
        self._runs: dict[LayerKey, int] = {}
        self._told: set[tuple[str, str]] = set()
        self._serial = 0
        self._tidy: Any = None
        self._stopped = False
        self._inherits = become_subreaper()  # scripts become this process's children: nobody else could reap them

    def __call__(self, command: Command, stdin: int, stdout: int, stderr: int) -> Child:
        """As Start.

        :raises ScriptStartError: it can be started in no way.
        """
        child = self._warm(command, stdin, stdout, stderr)
        return self._cold(command, stdin, stdout, stderr) if child is None else child

    def stop(self) -> None:
        """End all servers; what was asked of them still starts."""
        self._stopped = True
        every: tuple[dict[Any, ForkServer], ...] = (self._servers, self._successors, self._layers, self._next_layers)
        for servers in every:
            for server in tuple(servers.values()):
                server.retire()
            servers.clear()
        if self._tidy is not None:
            self._tidy.cancel()
            self._tidy = None

    def _warm(self, command: Command, stdin: int, stdout: int, stderr: int) -> WarmChild | None:
        script = command.arguments[0]
        if self._stopped or not self._inherits:
            return None
        interpreter = self._interpreter(script, command.environment.get("PATH", ""))
        if isinstance(interpreter, Cold):
            if interpreter.reason:
                self._tell(script, interpreter.reason)
            return None
        environment = {
            name: value
            for name, value in command.environment.items()
            if name in self._names or name.startswith(_PREFIXES)
        }
        for name in ("PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "PYTHONPLATLIBDIR"):
            if any(not place.startswith("/") for place in environment.get(name, "/").split(":")):
                self._tell(script, f"{name} has a relative directory")
                return None
        if environment.keys() & _NOT_WARM:
            self._tell(script, f"{min(environment.keys() & _NOT_WARM)} is set")
            return None
        key = (interpreter.line, interpreter.path, tuple(environment.items()))
        unfit = self._unfit.get(key)
        if unfit is not None:
            watch, until, reason = unfit
            if watch == interpreter.watch and self._reactor.seconds() < until:
                self._tell(script, reason)
                return None
            del self._unfit[key]
        self._serial += 1
        packet = request(self._serial, time.monotonic_ns(), command, interpreter)
        if packet is None:
            self._tell(script, "its environment is too long")
            return None
        server = self._server(key, interpreter, environment)
        if server is None:
            self._tell(script, "its interpreter cannot be started")
            return None
        layer_key = (key, script, self._scripts[script][0])
        server = self._layer(layer_key, server)
        descriptors = _duplicates(stdin, stdout, stderr)
        if descriptors is None:
            self._tell(script, "the daemon has no descriptors left")
            return None

        def told(reason: str) -> None:
            changed = reason.removeprefix("stale: ")
            if changed == reason:
                self._tell(script, reason)
            else:
                self._tell(script, f"{changed} has changed", passing=True)
                self._scripts.pop(script, None)
                if self._layers.get(layer_key) is server:
                    self._bare[layer_key] = self._reactor.seconds() + STALE
                    self._end_layer(layer_key)
                elif self._servers.get(key) is server:
                    del self._servers[key]
                server.retire()

        child = WarmChild(self._reactor, command, descriptors, told, self._cold)
        if server.ask(self._serial, packet, descriptors, child):
            return child
        for one in descriptors:
            os.close(one)
        self._tell(script, "its warm interpreter takes no more at this moment", passing=True)
        return None

    def _interpreter(self, script: str, search: str) -> Interpreter | Cold:
        now = identity(script)
        known = self._scripts.get(script)
        if known is not None and known[0] == now and known[1] == search:
            return known[2]
        found = read_interpreter(os.fsencode(script), os.fsencode(search))
        if len(self._scripts) >= MAX_KNOWN:
            self._scripts.clear()
        self._scripts[script] = (now, search, found)
        return found

    def _server(self, key: Key, interpreter: Interpreter, environment: dict[str, str]) -> ForkServer | None:
        server = self._servers.get(key)
        if server is None:
            server = self._new(key, interpreter, environment)
            if server is None:
                return None
            self._servers[key] = server
            while len(self._servers) > self._settings.cgi_warm_servers:
                self._servers.popitem(last=False)[1].retire()
            if self._tidy is None:
                self._tidy = self._reactor.callLater(self._settings.cgi_warm_idle, self._end_idle)
        elif server.asked >= RUNS:
            successor = self._successors.get(key)
            if successor is None:
                successor = self._new(key, interpreter, environment)
                if successor is not None:
                    self._successors[key] = successor
            elif successor.ready:
                server.retire()
                server = self._servers[key] = self._successors.pop(key)
        self._servers.move_to_end(key)
        return server

    def _new(self, key: Key, interpreter: Interpreter, environment: dict[str, str]) -> ForkServer | None:
        def lost(server: ForkServer, reason: str) -> None:
            if self._servers.get(key) is server:
                del self._servers[key]
            if self._successors.get(key) is server:
                del self._successors[key]
            if not server.ready and reason:
                self._unfit[key] = (interpreter.watch, self._reactor.seconds() + UNFIT, reason)

        encoded = {os.fsencode(name): os.fsencode(value) for name, value in environment.items()}
        try:
            return self._serve(self._reactor, interpreter, encoded, claim=self._claim, release=self._release, lost=lost)
        except OSError:
            return None

    def _layer(self, key: LayerKey, server: ForkServer) -> ForkServer:
        """The server that has imported already what a script imports first, once there is one; otherwise `server`."""
        found = self._layers.get(key)
        if found is None:
            if self._bare.get(key, 0.0) > self._reactor.seconds():
                return server
            self._runs[key] = self._runs.get(key, 0) + 1
            if self._runs[key] < WORTH or not server.ready:
                if len(self._runs) > MAX_KNOWN:
                    self._runs.clear()
                return server
            self._new_layer(key, server, self._layers)
            while len(self._layers) > self._settings.cgi_warm_servers:
                self._end_layer(next(iter(self._layers)))
            return server
        if found.asked >= RUNS and server.ready:
            heir = self._next_layers.get(key) or self._new_layer(key, server, self._next_layers)
            if heir is not None and heir.ready:
                found.retire()
                found = self._layers[key] = self._next_layers.pop(key)
        self._layers.move_to_end(key)
        return found if found.ready else server

    def _end_layer(self, key: LayerKey) -> None:
        """Retire a layer, and the one that was to follow it."""
        for layers in (self._layers, self._next_layers):
            layer = layers.pop(key, None)
            if layer is not None:
                layer.retire()

    def _new_layer(self, key: LayerKey, server: ForkServer, layers: dict[LayerKey, ForkServer]) -> ForkServer | None:
        """Ask for a layer, and keep it in `layers`."""

        def lost(layer: ForkServer, reason: str) -> None:
            for known in (self._layers, self._next_layers):
                if known.get(key) is layer:
                    del known[key]
            if not layer.ready and reason:
                if len(self._bare) > MAX_KNOWN:
                    self._bare.clear()
                self._bare[key] = self._reactor.seconds() + BARE

        layer = server.layer(key[1], self._legacy(), claim=self._claim, release=self._release, lost=lost)
        if layer is not None:
            layers[key] = layer
        return layer

    def _end_idle(self) -> None:
        self._tidy = None
        longest = self._settings.cgi_warm_idle
        now = self._reactor.seconds()
        every: tuple[dict[Any, ForkServer], ...] = (self._servers, self._successors, self._layers, self._next_layers)
        for servers in every:
            for key, server in tuple(servers.items()):
                if server.idle and now - server.used_at >= longest:
                    del servers[key]
                    server.retire()
        if any(every):
            self._tidy = self._reactor.callLater(longest / 4, self._end_idle)

    def _tell(self, script: str, reason: str, *, passing: bool = False) -> None:
        """Log a reason once.

        :param passing: the next run will be warm.
        """
        if (script, reason) in self._told or len(self._told) >= MAX_TOLD:
            return
        self._told.add((script, reason))
        say = log.warn if self._settings.cgi_warm == "on" and not passing else log.info
        say("{script}: executed, not run warm: {reason}", event="cgi-warm-fallback", script=script, reason=reason)


def _duplicates(stdin: int, stdout: int, stderr: int) -> tuple[int, int, int] | None:
    """Descriptors that outlive those of the caller; None when there is no room for them."""
    made: list[int] = []
    try:
        # A /dev/null of its own: what a script sets on it (O_NONBLOCK) would be set for all others.
        made.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC) if stdin == DEVNULL else os.dup(stdin))
        made.append(os.dup(stdout))
        made.append(os.dup(stderr))
    except OSError:
        for one in made:
            os.close(one)
        return None
    return made[0], made[1], made[2]


# What makes an interpreter do at its start what a child could not undo or repeat.
_NOT_WARM = frozenset(
    {
        "PYTHONDEVMODE",
        "PYTHONDUMPREFS",
        "PYTHONFAULTHANDLER",
        "PYTHONINSPECT",
        "PYTHONMALLOCSTATS",
        "PYTHONPERFSUPPORT",
        "PYTHONPROFILEIMPORTTIME",
        "PYTHONSTARTUP",
        "PYTHONTRACEMALLOC",
        "PYTHONVERBOSE",
    }
)
