"""The messages between the daemon and its fork servers. No I/O, no Twisted.

Each is one packet of a SOCK_SEQPACKET pair. A request is a fixed head (HEAD), what the interpreter depends on, and all
that the script's process needs, which the server leaves to that process to read; the two in marshal's version 2, which
every Python 3 reads. It has three descriptors with it, the script's stdin, stdout and stderr. The server writes a
report for each, ``SERIAL PID REASON``, and one with the serial 0 when it is ready.
"""

from __future__ import annotations

import marshal
import os
import struct

from attrs import frozen

from netsvc.services.http.cgi.child import Command
from netsvc.services.http.cgi.warm.shebang import Interpreter

LONGEST = 100_000  # octets of a request; the kernel takes 212,992 at once (net.core.wmem_default), exec(3) more
HEAD = struct.Struct("!QQI")  # serial, when it was sent, octets of what follows that the interpreter depends on
_VERSION = 2  # of marshal: nothing in it that depends on the Python


@frozen
class Report:
    """What became of a request.

    :param serial: the request's; 0 is the server's own start: with the pid of a layer, and why it is none.
    :param pid: the script's process, or 0 when there is none.
    :param reason: empty when it runs warm; why it was executed instead, when there is a pid; or why there is none.
    """

    serial: int
    pid: int
    reason: str


def request(serial: int, sent: int, command: Command, interpreter: Interpreter) -> bytes | None:
    """The packet that asks for a script; None when only exec can pass it on.

    :param sent: now, by time.monotonic_ns(): what the server found later than that about its files holds.
    """
    variables, count = command.environment, len(command.environment)
    words = [*variables, *variables.values(), *command.arguments]
    try:
        encoded = os.fsencode("\0".join(words)).split(b"\0")  # in one go: one by one they cost more than the packet
    except UnicodeEncodeError:
        return None
    if len(encoded) != len(words) or any(b"\0" in one for one in interpreter.line):  # a NUL in one of them
        return None
    environment = dict(zip(encoded[:count], encoded[count : 2 * count], strict=True))
    arguments = encoded[2 * count :]
    line = [*interpreter.line, *arguments]
    watch = marshal.dumps(interpreter.watch, _VERSION)
    rest = marshal.dumps(
        (
            arguments,
            line,
            interpreter.comm or os.path.basename(arguments[0])[:15],
            os.fsencode(command.directory),
            environment,
            command.umask,
            command.nice,
            command.cpu_limit,
            command.memory_limit,
        ),
        _VERSION,
    )
    packet = HEAD.pack(serial, sent, len(watch)) + watch + rest
    return packet if len(packet) <= LONGEST else None


def layer_request(script: str, legacy: str) -> bytes:
    """The packet that asks for a layer: see forkserver/. It has one descriptor with it, the layer's socket."""
    return HEAD.pack(0, 0, 0) + marshal.dumps((os.fsencode(script), os.fsencode(legacy)), _VERSION)


def read_report(packet: bytes) -> Report | None:
    """The report in a packet; None for one that no fork server writes."""
    try:
        serial, pid, reason = packet.split(b" ", 2)
        return Report(int(serial), int(pid), reason.decode("utf-8", "backslashreplace"))
    except ValueError:
        return None
