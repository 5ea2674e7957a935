"""Listen lines, and which of them claim one address."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import (
    ListenAddress,
    SystemdAddress,
    TcpAddress,
    UdpAddress,
    UnixAddress,
    endpoints,
    parse_listen,
)
from netsvc.config.options import Context
from netsvc.config.overlap import Claim, Claims
from netsvc.config.tls import Tls, TlsDirectory
from netsvc.errors import BadValue, Origin

WORDS = (*re.findall(r"\w+|\W", "tcp udp unix systemd haproxy interface mode index name tls 80 0:\\=~/"), "::1")
CONTEXT = Context(Path("/etc/netsvc"))


class ListenTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        self.context = Context(self.directory)
        for name in ("server.pem", "key.pem", "chain.pem"):
            (self.directory / name).write_text("PEM")

    def refused(self, line: str, at: int = 0, suggestion: str | None = None) -> str:
        with self.assertRaises(BadValue) as caught:
            parse_listen(line, self.context)
        self.assertEqual((caught.exception.at, caught.exception.suggestion), (at, suggestion), caught.exception.message)
        return caught.exception.message

    def test_tcp(self) -> None:
        """tcp: takes its arguments by name or in Twisted's order."""
        for line, address in (
            ("tcp:8000", TcpAddress(port=8000)),
            ("tcp:port=8000", TcpAddress(port=8000)),
            ("tcp:0:interface=127.0.0.1:backlog=5", TcpAddress(port=0, interface="127.0.0.1", backlog=5)),
            ("tcp:80:127.0.0.1:5", TcpAddress(port=80, interface="127.0.0.1", backlog=5)),
            ("tcp:interface=127.0.0.1:8000", TcpAddress(port=8000, interface="127.0.0.1")),
            (r"tcp:8000:interface=\:\:1", TcpAddress(port=8000, interface="::1")),
            (r"tcp:8000:interface=[\:\:]", TcpAddress(port=8000, interface="::")),
            ("tcp:8000:interface=", TcpAddress(port=8000)),
            ("haproxy:tcp:8000", TcpAddress(port=8000, haproxy=True)),
        ):
            self.assertEqual(parse_listen(line, CONTEXT), address, line)

    def test_tcp_refused(self) -> None:
        """Every fault has the offset of its field."""
        self.refused("tcp")
        self.refused("tcp:", at=4)
        self.refused("tcp:70000", at=4)
        self.refused("tcp:http", at=4)
        self.refused("tcp:80:interfce=::1", at=7, suggestion="interface")
        self.refused("tcp:80:interface=localhost", at=7)
        self.refused("tcp:80:backlog=", at=7)
        self.refused("tcp:80:port=81", at=7)
        self.refused("tcp:80:127.0.0.1:5:6", at=19)
        self.refused("tcp:80:" + "9" * 5000, at=7)
        self.assertIn(r"written \:", self.refused("tcp:80:interface=::1", at=18))
        self.assertIn(r"written \:", self.refused("udp:80:interface=::1", at=18))

    def test_scheme_refused(self) -> None:
        """An unknown scheme is refused with the nearest one; a bare port is explained."""
        self.refused("tpc:80", suggestion="tcp")
        self.refused("8000", suggestion="tcp:8000")
        self.refused("", suggestion=None)
        self.refused("tcp=1:80", suggestion=None)
        self.refused("x=haproxy:tcp:80")
        self.refused("haproxy", at=7)
        self.refused("haproxy:udp:80", at=8)
        self.refused("haproxy:haproxy:tcp:80", at=8)
        self.refused("tcp:8\0", at=5)

    def test_udp(self) -> None:
        """udp: is ours; it has a port and an interface."""
        self.assertEqual(parse_listen("udp:9:interface=127.0.0.1", CONTEXT), UdpAddress(port=9, interface="127.0.0.1"))
        self.assertEqual(UdpAddress(port=9, interface="::1").endpoint, r"udp:9:interface=\:\:1")
        self.refused("udp:9:127.0.0.1", at=6)

    def test_unix(self) -> None:
        """unix: paths are relative to the file; the kernel's limit on their length is ours."""
        self.assertEqual(
            parse_listen("unix:run/s:mode=660", CONTEXT), UnixAddress(path=Path("/etc/netsvc/run/s"), mode=0o660)
        )
        self.assertEqual(parse_listen("unix:/run/s:lockfile=0", CONTEXT), UnixAddress(path=Path("/run/s")))
        self.refused("unix:", at=5)
        self.refused("unix:mode=660")
        self.refused("unix:/s:mode=999", at=8)
        self.refused("unix:/s:lockfile=yes", at=8)
        self.refused("unix:~nobody-has-this-name/s", at=5)
        parse_listen("unix:/" + "x" * 106, CONTEXT)
        self.refused("unix:/" + "x" * 107, at=5)

    def test_tls(self) -> None:
        """tls: and ssl: read their files by name, and default to server.pem as Twisted does."""
        default = Tls(certificate=self.directory / "server.pem", key=self.directory / "server.pem")
        for line, tls in (
            ("tls:443", default),
            ("ssl:443:interface=127.0.0.1", default),
            ("tls:443:privateKey=key.pem", Tls(certificate=self.directory / "key.pem", key=self.directory / "key.pem")),
            (
                "tls:443:privateKey=key.pem:certKey=server.pem:extraCertChain=chain.pem",
                Tls(self.directory / "server.pem", self.directory / "key.pem", self.directory / "chain.pem"),
            ),
        ):
            address = parse_listen(line, self.context)
            assert isinstance(address, TcpAddress)
            self.assertEqual(address.tls, tls)
            self.assertEqual(parse_listen(address.endpoint, self.context), address)
            self.assertEqual(str(address)[:4], "tls:")

    def test_tls_refused(self) -> None:
        """A key file that is missing, a directory or a FIFO is refused at its field, and none blocks."""
        os.mkfifo(self.directory / "fifo")
        (self.directory / "server.pem").unlink()
        self.assertIn("No such file", self.refused("tls:443"))
        self.assertIn("not a regular file", self.refused("tls:443:privateKey=key.pem:certKey=.", at=27))
        self.assertIn("not a regular file", self.refused("tls:443:privateKey=fifo", at=8))
        self.refused("tls:443:key.pem", at=8)
        self.refused("tls:443:privateKey=", at=8)

    def test_tls_directory(self) -> None:
        """directory= names a directory of certificates, wherever TLS is; it takes the place of the files."""
        place = TlsDirectory(self.directory)
        for line in (
            "tls:443:directory=.",
            "ssl:443:directory=.",
            "haproxy:tls:443:directory=.",
            "systemd:name=web:directory=.",
        ):
            address = parse_listen(line, self.context)
            assert isinstance(address, TcpAddress | SystemdAddress)
            self.assertEqual(address.tls, place)
            self.assertEqual(parse_listen(address.endpoint, self.context), address)
        self.assertIn("contradicts", self.refused("tls:443:directory=.:certKey=server.pem", at=20))
        self.assertIn("not a directory", self.refused("tls:443:directory=server.pem", at=8))
        self.assertIn("No such file", self.refused("tls:443:directory=none", at=8))
        self.refused("tls:443:directory=", at=8)
        self.refused("tls:443:directry=.", at=8, suggestion="directory")
        self.refused("tcp:80:directory=.", at=7)
        self.refused("systemd:index=0:tls=no:directory=.", at=16)

    def test_systemd(self) -> None:
        """systemd: needs an index or a name; keys or tls=yes make it TLS."""
        self.assertEqual(parse_listen("systemd:domain=INET:index=0", CONTEXT), SystemdAddress(index=0))
        self.assertEqual(parse_listen("systemd:name=web", CONTEXT), SystemdAddress(name="web"))
        default = Tls(self.directory / "server.pem", self.directory / "server.pem")
        for line in ("systemd:name=web:tls=yes", "systemd:name=web:privateKey=server.pem"):
            address = parse_listen(line, self.context)
            self.assertEqual(address, SystemdAddress(name="web", tls=default))
            self.assertEqual(parse_listen(address.endpoint, self.context), address)
        self.refused("systemd:INET")
        self.refused("systemd:index=0:name=web")
        self.refused("systemd:index=x", at=8)
        self.refused("systemd:name=", at=8)
        self.refused("systemd:domain=inet:index=0", at=8)
        self.refused("systemd:index=0:tls=maybe", at=16)
        self.refused("systemd:index=0:tls=no:privateKey=key.pem", at=16)

    def test_endpoints(self) -> None:
        """One address a line; a fault in one has its offset in the whole value; none at all and twins are faults."""
        kind = endpoints()
        self.assertEqual(kind.parse("tcp:1\n\n  udp:1 ", CONTEXT), (TcpAddress(port=1), UdpAddress(port=1)))
        for text, at in (("tcp:1\n  tcp:x", 12), ("", 0), ("tcp:1\ntcp:1", 6)):
            with self.assertRaises(BadValue) as caught:
                kind.parse(text, CONTEXT)
            self.assertEqual(caught.exception.at, at)

    def test_str(self) -> None:
        """An address is shown to people as they write one."""
        shown = [
            str(parse_listen(line, CONTEXT))
            for line in (
                "tcp:80",
                r"tcp:80:\:\:1",
                "udp:9:interface=127.0.0.1",
                "unix:/s",
                "systemd:index=3",
                "systemd:name=web",
            )
        ]
        self.assertEqual(shown, ["tcp:*:80", "tcp:[::1]:80", "udp:127.0.0.1:9", "unix:/s", "systemd:3", "systemd:web"])

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.builds(
            "".join,
            st.lists(
                st.sampled_from(WORDS),
                max_size=9,
            ),
        )
    )
    def test_any_line(self, line: str) -> None:
        """Any line is an address or a BadValue with an offset in it; an address is written so that it is read again."""
        try:
            address = parse_listen(line, CONTEXT)
        except BadValue as bad:
            self.assertTrue(0 <= bad.at <= len(line))
        else:
            self.assertEqual(parse_listen(address.endpoint, CONTEXT), address)
            self.assertEqual(endpoints().show((address,)), address.endpoint)

    @settings(derandomize=True, deadline=None)
    @given(st.text(st.characters(exclude_characters="\0\n\r", exclude_categories=["Cs"]), min_size=1, max_size=20))
    def test_quoting(self, name: str) -> None:
        """Any path of a socket is written so that it is read again."""
        address = UnixAddress(path=Path("/run") / name, mode=0o600, backlog=5, haproxy=True)
        self.assertEqual(parse_listen(address.endpoint, CONTEXT), address)


class OverlapTests(SynchronousTestCase):
    def collides(self, first: str, second: str) -> bool:
        claims = Claims()
        one, two = (
            Claim(parse_listen(line, CONTEXT), name, Origin("f", 1)) for line, name in ((first, "a"), (second, "b"))
        )
        self.assertIsNone(claims.add(one))
        found = claims.add(two)
        self.assertIn(found, (None, one))
        return found is one

    def test_rules(self) -> None:
        """Wildcards take a port of every address of their family, '::' of both; the order does not matter."""
        for first, second, collides in (
            ("tcp:80", "tcp:80", True),
            ("tcp:80", "tcp:80:0.0.0.0", True),
            ("tcp:80", "tcp:81", False),
            ("tcp:80", "udp:80", False),
            ("tcp:0", "tcp:0", False),
            ("udp:80", "udp:80:interface=127.0.0.1", True),
            ("tcp:80:127.0.0.1", "tcp:80:127.0.0.2", False),
            ("tcp:80:127.0.0.1", r"tcp:80:\:\:ffff\:127.0.0.1", True),
            ("tcp:80", r"tcp:80:\:\:1", False),
            (r"tcp:80:\:\:", "tcp:80", True),
            (r"tcp:80:\:\:", "tcp:80:127.0.0.1", True),
            (r"tcp:80:\:\:", r"tcp:80:\:\:1", True),
            ("unix:/run/a", "unix:/run/x/../a", True),
            ("unix:/run/a", "unix:/run/b", False),
            ("unix:/80", "tcp:80", False),
            ("systemd:name=a", "systemd:name=a", True),
            ("systemd:name=a", "systemd:index=0", False),
        ):
            self.assertEqual(self.collides(first, second), collides, (first, second))
            self.assertEqual(self.collides(second, first), collides, (second, first))

    def test_many(self) -> None:
        """Ten thousand claims of one port are told apart at once, and a late wildcard meets the first of them."""
        claims = Claims()
        made: list[Claim] = []
        for number in range(10_000):
            address: ListenAddress = TcpAddress(port=80, interface=f"10.0.{number >> 8}.{number & 255}")
            made.append(Claim(address, "a", Origin("f", number + 1)))
            self.assertIsNone(claims.add(made[-1]))
        self.assertIs(claims.add(Claim(TcpAddress(port=80, interface="::"), "b", Origin("f"))), made[0])
        self.assertIs(claims.add(Claim(TcpAddress(port=80), "c", Origin("f"))), made[0])
