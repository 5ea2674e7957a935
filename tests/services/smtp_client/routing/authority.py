"""A DNS server of the test's own, on loopback, over UDP and TCP: answers from a table as a resolver would."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

SOA = "ns.test. admin.test. 1 60 60 60 60"


class Authority:
    """Records are text: ``("a.example", "MX"): ["10 m.example."]``. Aliases are followed. ``modes``: what a name does
    instead: ``servfail``, ``refused``, ``silent``, ``forged`` (three answers that are none come before the true one),
    ``long`` (truncated over UDP), ``insecure`` (no AD).
    """

    def __init__(self, records: dict[tuple[str, str], list[str]], modes: dict[str, str] | None = None) -> None:
        self.records = records
        self.modes = modes or {}
        self.asked: list[tuple[str, str, str]] = []
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        while True:
            self._udp.bind(("127.0.0.1", 0))
            self.port: int = self._udp.getsockname()[1]
            with contextlib.suppress(OSError):
                self._tcp.bind(("127.0.0.1", self.port))
                break
            self._udp.close()
            self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._tcp.listen()
        self._threads = [threading.Thread(target=one, daemon=True) for one in (self._datagrams, self._streams)]

    def __enter__(self) -> Authority:
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wake()
        self._tcp.shutdown(socket.SHUT_RDWR)
        for one in self._threads:
            one.join()
        self._udp.close()
        self._tcp.close()

    def _wake(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"", ("127.0.0.1", self.port))

    def _datagrams(self) -> None:
        while True:
            octets, peer = self._udp.recvfrom(4096)
            if not octets:
                return
            for reply in self._replies(octets, "udp"):
                self._udp.sendto(reply, peer)

    def _streams(self) -> None:
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, struct.error):
                (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
                for reply in self._replies(connection.recv(length, socket.MSG_WAITALL), "tcp"):
                    connection.sendall(struct.pack("!H", len(reply)) + reply)

    def _replies(self, octets: bytes, way: str) -> list[bytes]:
        query = dns.message.from_wire(octets)
        (question,) = query.question
        name, kind = question.name.to_text(True).lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind, way))
        reply = dns.message.make_response(query, recursion_available=True)
        mode = self.modes.get(name, "")
        if mode == "silent":
            return []
        if mode in ("servfail", "refused"):
            reply.set_rcode(dns.rcode.from_text(mode.upper()))
            return [reply.to_wire()]
        if mode != "insecure":
            reply.flags |= dns.flags.AD
        self._fill(reply, question.name, kind)
        if mode == "long" and way == "udp":
            reply.answer.clear()
            reply.flags |= dns.flags.TC
        found = reply.to_wire(max_size=65535)
        if mode == "forged":
            other = dns.message.make_response(dns.message.make_query("other.example", kind, id=query.id))
            return [bytes([found[0] ^ 1]) + found[1:], other.to_wire(), b"rubbish", found]
        return [found]

    def _fill(self, reply: dns.message.Message, name: dns.name.Name, kind: str) -> None:
        text = name.to_text(True).lower()
        for _ in range(8):
            alias = self.records.get((text, "CNAME"))
            if alias is None or kind == "CNAME":
                break
            reply.answer.append(dns.rrset.from_text(text + ".", 300, "IN", "CNAME", *alias))
            text = alias[0].rstrip(".").lower()
        values = self.records.get((text, kind))
        if values:
            reply.answer.append(dns.rrset.from_text(text + ".", 300, "IN", kind, *values))
            return
        reply.authority.append(dns.rrset.from_text("example." if "." in text else ".", 60, "IN", "SOA", SOA))
        if not any(one == text for one, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
