"""One round with each kind of service: what it must do is checked, and what it said is reported.

A check is a function (target, settings) that talks to the service once, raises ProbeError, or returns an Answer.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from attrs import field, frozen

from netsvc.cli.probes.sockets import Connection, ProbeError, TimedOutError
from netsvc.cli.probes.target import Target

EPOCH = 2_208_988_800  # seconds from 1900 to 1970, RFC 868
QUOTE = 512  # octets, RFC 865: a quote has fewer; also a request that lets any quote be its answer
LINE = 4096  # octets: a daytime line has some 30; whatever has more is not one
CHARGEN_LINE = 74  # octets with CRLF, RFC 864
PRINTING = bytes(range(0x20, 0x7F))  # RFC 864
GREATEST_FILE = 256 << 20  # octets of JSON read from a filetransfer service before it counts as endless
SILENCE = 0.2  # seconds without an answer or a refusal, after which a UDP discard service counts as there


@frozen(kw_only=True)
class Settings:
    """How to probe.

    :param timeout: seconds for each round.
    :param size: octets of an echo.
    :param cafile: PEM file of the authorities for https, or None for the system's.
    :param insecure: believe any certificate.
    """

    timeout: float = 5.0
    size: int = 64
    cafile: str | None = None
    insecure: bool = False


@frozen(kw_only=True)
class Answer:
    """What a service did in one round.

    :param seconds: how long it took.
    :param text: what it said, for people; not yet escaped.
    :param facts: the same for programs.
    """

    seconds: float
    text: str = ""
    facts: dict[str, object] = field(factory=dict)


Check = Callable[[Target, Settings], Answer]
Pinger = Callable[[], Answer]


def _as_text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace").rstrip("\r\n")


def _since(start: float) -> float:
    return time.perf_counter() - start


@contextmanager
def echo_rounds(target: Target, settings: Settings) -> Iterator[Pinger]:
    """One connection (or UDP socket); each call sends fresh octets and waits for them to come back."""
    with Connection(target, settings.timeout) as connection:

        def ping() -> Answer:
            payload = os.urandom(settings.size)
            connection.renew(settings.timeout)
            start = time.perf_counter()
            connection.send(payload)
            if target.datagram:
                while connection.receive() != payload:
                    pass  # a late answer to an earlier round
            elif connection.exactly(len(payload)) != payload:
                raise ProbeError("other octets came back")
            return Answer(seconds=_since(start), text=f"{settings.size} octets came back")

        yield ping


def discard(target: Target, settings: Settings) -> Answer:
    """Silence, and over TCP the end after ours."""
    start = time.perf_counter()
    with Connection(target, settings.timeout) as connection:
        connection.send(os.urandom(settings.size))
        if target.datagram:
            connection.renew(min(SILENCE, settings.timeout))
            try:
                connection.receive()
            except TimedOutError:
                return Answer(seconds=_since(start), text="silence, as it should be (or nobody there)")
            raise ProbeError("it answered")
        connection.end()
        if connection.to_end(LINE):
            raise ProbeError("it answered")
        return Answer(seconds=_since(start), text="took it and kept silent")


def chargen(target: Target, settings: Settings) -> Answer:
    """The rotating pattern: two whole lines of a stream, or what fits in a datagram."""
    start = time.perf_counter()
    with Connection(target, settings.timeout) as connection:
        if target.datagram:
            connection.send(bytes(QUOTE))
            data = connection.receive()
            if len(data) > QUOTE or data.translate(None, PRINTING + b"\r\n"):
                raise ProbeError("not the pattern of RFC 864")
        else:
            data = connection.exactly(2 * CHARGEN_LINE)
            first, second = data[:CHARGEN_LINE], data[CHARGEN_LINE:]
            whole = all(line.endswith(b"\r\n") and not line[:-2].translate(None, PRINTING) for line in (first, second))
            if not whole or first[1:-2] != second[:-3]:
                raise ProbeError("not the pattern of RFC 864")
        return Answer(seconds=_since(start), text=f"{len(data)} octets of the pattern")


def _said(target: Target, settings: Settings, request: bytes, most: int) -> tuple[float, bytes]:
    """What a service that only speaks says: to the end of its stream, or in its datagram. Never empty."""
    start = time.perf_counter()
    with Connection(target, settings.timeout) as connection:
        if target.datagram:
            connection.send(request)
            data = connection.receive()
        else:
            data = connection.to_end(most)
    if not data:
        raise ProbeError("it said nothing")
    return _since(start), data


def qotd(target: Target, settings: Settings) -> Answer:
    """One quote under 512 octets."""
    seconds, data = _said(target, settings, bytes(QUOTE), LINE)
    if len(data) >= QUOTE:
        raise ProbeError(f"a quote of {len(data)} octets; RFC 865 wants fewer than {QUOTE}")
    return Answer(seconds=seconds, text=_as_text(data))


def daytime(target: Target, settings: Settings) -> Answer:
    """One line."""
    seconds, data = _said(target, settings, b"\n", LINE)
    return Answer(seconds=seconds, text=_as_text(data).strip())


def time_(target: Target, settings: Settings) -> Answer:
    """Four octets, and how far the service's clock is ahead of ours.

    The service counts whole seconds: a clock that is right is shown 0 to 1 s behind, here taken as half a second.
    """
    seconds, data = _said(target, settings, b"\n", LINE)
    if len(data) != 4:
        raise ProbeError(f"{len(data)} octets; RFC 868 wants 4")
    (count,) = struct.unpack("!I", data)
    middle = time.time() - seconds / 2 + EPOCH
    offset = (count + 0.5 - middle + 2**31) % 2**32 - 2**31  # the era (1900, 2036, ...) nearest to ours
    text = (
        "the same time as here, to its second" if abs(offset) <= 0.5 + seconds else f"{offset:+.1f} s from this clock"
    )
    return Answer(seconds=seconds, text=text, facts={"offset": round(offset, 3)})


def greeter(target: Target, settings: Settings) -> Answer:
    """A welcome, and an answer to one word unless it closed after the welcome."""
    start = time.perf_counter()
    with Connection(target, settings.timeout) as connection:
        welcome = connection.receive()
        if not welcome:
            raise ProbeError("it closed without a welcome")
        reply = b""
        try:
            connection.send(b"netsvc")
            reply = connection.receive()
        except TimedOutError:
            raise
        except ProbeError:  # it closed after the welcome
            pass
    text = " / ".join(_as_text(part) for part in (welcome, reply) if part)
    return Answer(seconds=_since(start), text=text)


def filetransfer(target: Target, settings: Settings) -> Answer:
    """One JSON object with the name and the octets of a file."""
    import base64
    import binascii

    start = time.perf_counter()
    with Connection(target, settings.timeout) as connection:
        data = connection.to_end(GREATEST_FILE)
    seconds = _since(start)
    try:
        found = json.loads(data)
        name = str(found["filename"])
        size = len(base64.b64decode(found["filedata"], validate=True))
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise ProbeError("not a JSON object with filename and filedata") from None
    return Answer(seconds=seconds, text=f"{name}, {size} octets", facts={"filename": name, "size": size})


def web(target: Target, settings: Settings) -> Answer:
    """GET; a status below 400 is well."""
    import http.client
    import ssl

    connection: http.client.HTTPConnection
    if target.scheme == "https":
        context = ssl.create_default_context(cafile=settings.cafile)
        if settings.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection(target.host, target.port, timeout=settings.timeout, context=context)
    else:
        connection = http.client.HTTPConnection(target.host, target.port, timeout=settings.timeout)
    start = time.perf_counter()
    try:
        connection.request("GET", target.path, headers={"User-Agent": "netsvc-probe", "Connection": "close"})
        answer = connection.getresponse()
        seconds = _since(start)
        status, phrase = answer.status, answer.reason
    except TimeoutError:
        raise TimedOutError("timed out") from None
    except ssl.SSLCertVerificationError as error:
        raise ProbeError(f"the certificate: {error.verify_message}") from None
    except OSError as error:
        raise ProbeError((error.strerror or str(error)).lower()) from None
    except http.client.HTTPException as error:
        raise ProbeError(f"not HTTP: {type(error).__name__}") from None
    finally:
        connection.close()
    if status >= 400:
        raise ProbeError(f"{status} {phrase}")
    return Answer(seconds=seconds, text=f"{status} {phrase}", facts={"status": status})


def connects(target: Target, settings: Settings) -> Answer:
    """A connection is accepted."""
    start = time.perf_counter()
    with Connection(target, settings.timeout):
        return Answer(seconds=_since(start), text="connected")


CHECKS: dict[str, Check] = {
    "discard": discard,
    "chargen": chargen,
    "qotd": qotd,
    "daytime": daytime,
    "time": time_,
    "greeter": greeter,
    "filetransfer": filetransfer,
    "http": web,
    "https": web,
    "tcp": connects,
}
