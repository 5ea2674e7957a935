"""Transport: versions, the key exchange and its rules, deadlines, rekeying, peers that do not read."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.ssh.algorithms import CIPHERS, MACS, USER_KEYS
from netsvc.services.sftp.ssh.numbers import Message
from netsvc.services.sftp.ssh.octets import Octets, string, uint32
from netsvc.services.sftp.ssh.transport import FAREWELL
from tests.services.sftp.ssh.client import VERSION, Client, Site, data_of


class SiteCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)
        self.site = Site(self.place)


class TransportTests(SiteCase):
    def test_key_exchange(self) -> None:
        """With every cipher and MAC a client comes to the login; the host's signature is right."""
        for cipher in CIPHERS:
            for mac in MACS:
                for strict in (True, False):
                    client = Client(self.site, cipher=cipher, mac=mac, strict=strict)
                    client.log_in()

    def test_hybrid(self) -> None:
        """The key exchange that quantum computers do not break is done as its draft says; a bad key ends it."""
        Client(self.site, key_exchange=b"mlkem768x25519-sha256").log_in()
        for public in (b"", bytes(1216), b"\xff" * 1216):
            client = Client(self.site, key_exchange=b"mlkem768x25519-sha256")
            client.raw(VERSION + b"\r\n")
            client.begin()
            client.send(Message.KEX_INIT, string(public))
            self.assertTrue(client.told)

    def test_server_sig_algs(self) -> None:
        """The first packet under the new keys tells which algorithms users' keys may have: RFC 8308."""
        client = Client(self.site)
        found = client.exchange()[-1]
        fields = Octets(found, 1)
        self.assertEqual((found[0], fields.uint32(), fields.string()), (Message.EXT_INFO, 1, b"server-sig-algs"))
        self.assertEqual(fields.string(), b",".join(USER_KEYS))
        client.send(Message.EXT_INFO, uint32(0))
        client.ask()

    def test_file_abuse_39_compression(self) -> None:
        """A client that wants zlib, which old servers began before the login, is disconnected."""
        for compression in (b"zlib", b"zlib@openssh.com"):
            client = Client(self.site, compression=compression)
            client.raw(VERSION + b"\r\n")
            client.begin()
            self.assertEqual(client.told, "no compression in common")

    def test_nothing_in_common(self) -> None:
        """What is offered without a match ends in words: SHA-1, CBC, NIST's curves for the exchange."""
        for options in ({"cipher": b"aes256-cbc"}, {"mac": b"hmac-sha1", "cipher": b"aes256-ctr"}):
            client = Client(self.site, **options)  # type: ignore[arg-type]
            client.raw(VERSION + b"\r\n")
            client.begin()
            self.assertIn("in common", client.told)
        client = Client(self.site, key_exchange=b"ecdh-sha2-nistp256")
        client.raw(VERSION + b"\r\n")
        client.begin()
        self.assertEqual(client.told, "no key exchange in common")

    def test_wrong_guess(self) -> None:
        """The message of a key exchange that the client has only guessed is passed over: RFC 4253 7."""
        client = Client(self.site, follows=True)
        client.raw(VERSION + b"\r\n")
        client.begin()
        client.send(Message.KEX_INIT, string(b"of another exchange"))
        client.finish()
        client.ask()

    def test_wrong_guess_of_the_host_key(self) -> None:
        """The guess is wrong, too, when only the host key is another one than the client's first."""
        client = Client(self.site, follows=True, key_exchange=b"mlkem768x25519-sha256")
        client.offer = client.offer.replace(string(b"ssh-ed25519"), string(b"ssh-ed448,ssh-ed25519"))
        client.raw(VERSION + b"\r\n")
        client.begin()
        client.send(Message.KEX_INIT, string(b"of another exchange"))
        client.finish()
        client.ask()

    def test_bad_point(self) -> None:
        """A key of the exchange that is no point, or the point at nothing, ends it."""
        for public in (b"", b"short", bytes(32), bytes(33)):
            client = Client(self.site)
            client.raw(VERSION + b"\r\n")
            client.begin()
            client.send(Message.KEX_INIT, string(public))
            self.assertEqual(client.told, "a malformed key exchange")

    def test_strict(self) -> None:
        """With a client that knows strict key exchange nothing may come in between: CVE-2023-48795."""
        client = Client(self.site)
        client.raw(VERSION + b"\r\n")
        client.send(Message.IGNORE, string(b""))
        client.begin()
        self.assertEqual(client.told, "a message before the key exchange")
        for number in (Message.IGNORE, Message.DEBUG, Message.UNIMPLEMENTED, Message.EXT_INFO, Message.SERVICE_REQUEST):
            client = Client(self.site)
            client.raw(VERSION + b"\r\n")
            client.begin()
            client.send(number, string(b""))
            self.assertIn("key exchange", client.told)

    def test_lenient(self) -> None:
        """A client that does not know it may say things that mean nothing at any time."""
        client = Client(self.site, strict=False)
        client.raw(VERSION + b"\r\n")
        client.send(Message.IGNORE, string(b""))
        client.begin()
        client.send(Message.DEBUG, b"\0" + string(b"") + string(b""))
        client.finish()
        client.send(Message.IGNORE, string(b""))
        client.ask()

    def test_out_of_place(self) -> None:
        """A message before its time ends the connection, and nothing is logged as a fault."""
        for number in (5, 6, 21, 30, 50, 80, 90, 94, 98, 255):
            client = Client(self.site)
            client.raw(VERSION + b"\r\n")
            client.send(number, string(b""))
            self.assertTrue(client.told, number)
        for number in (20, 21, 30):
            client = Client(self.site)
            client.exchange()
            client.received()
            client.send(number)
            self.assertTrue(client.told, number)

    def test_newkeys_with_more(self) -> None:
        """NEWKEYS has nothing behind its number."""
        client = Client(self.site)
        client.raw(VERSION + b"\r\n")
        client.begin()
        client.send(Message.KEX_INIT, string(X25519PrivateKey.generate().public_key().public_bytes_raw()))
        client.transport.clear()
        client.send(Message.NEWKEYS, b"more")
        self.assertTrue(client.transport.disconnecting)

    def test_lengths_before_the_login(self) -> None:
        """A packet of 35,000 octets is the longest of a stranger; who has logged in may send longer ones."""
        client = Client(self.site)
        client.exchange()
        client.send(Message.IGNORE, string(bytes(34_900)))
        self.assertEqual(client.told, "")
        client.send(Message.IGNORE, string(bytes(35_000)))
        self.assertRegex(client.told, r"\Aa packet of 350\d\d octets\Z")
        inside = Client(self.site).log_in()
        inside.send(Message.IGNORE, string(bytes(200_000)))
        self.assertEqual(inside.told, "")

    def test_unknown_messages(self) -> None:
        """What is not known is answered so, with its number of order."""
        client = Client(self.site)
        client.exchange()
        client.send(192, b"what?")
        client.send(31, b"what?")
        self.assertEqual(
            client.received(),
            [bytes((Message.UNIMPLEMENTED,)) + uint32(0), bytes((Message.UNIMPLEMENTED,)) + uint32(1)],
        )

    def test_versions(self) -> None:
        """Only SSH 2.0 is spoken, in a line of 255 octets at most."""
        for line in (
            b"SSH-1.5-old\r\n",
            b"SSH-1.99-x\r\n",
            b"GET / HTTP/1.1\r\n",
            b"SSH-2.0\r\n",
            b"SSH-2.0-" + b"x" * 300,
        ):
            client = Client(self.site)
            client.raw(line)
            self.assertEqual(client.told, "the peer does not speak SSH 2.0")

    def test_version_in_pieces(self) -> None:
        """The version may come octet by octet, with a newline alone, and with all else behind it."""
        client = Client(self.site)
        for one in VERSION + b"\n":
            client.raw(bytes((one,)))
        client.begin()
        client.finish()
        client.ask()

    def test_file_abuse_35_packet_lengths(self) -> None:
        """A packet of 0 octets or of 4 GiB ends the connection at once, before and behind the key exchange."""
        for length in (0, 0xFFFFFFFF):
            client = Client(self.site)
            client.raw(VERSION + b"\r\n")
            client.raw(uint32(length) + bytes(60))
            self.assertEqual(client.told, f"a packet of {length} octets")
            for cipher in CIPHERS:
                client = Client(self.site, cipher=cipher)
                client.exchange()
                client.received()
                client.raw(uint32(length) + bytes(60))
                self.assertTrue(client.told)

    def test_file_abuse_40_drips(self) -> None:
        """A version that comes by drips does not outlive the time for the login."""
        client = Client(self.site)
        for one in VERSION * 2:
            self.site.clock.advance(2.5)
            if client.transport.disconnecting:
                break
            client.raw(bytes((one,)))
        self.assertEqual(self.site.clock.seconds(), 60.0)
        self.assertEqual(client.told, "no login in time")

    def test_login_deadline(self) -> None:
        """A peer that stops anywhere before the end of the login is disconnected; one that has logged in is not."""
        inside = Client(self.site)
        inside.log_in()
        outside = Client(self.site)
        outside.exchange()
        outside.ask()
        self.site.clock.advance(61)
        self.assertEqual(outside.told, "no login in time")
        self.assertFalse(inside.transport.disconnecting)
        inside.lose()
        outside.lose()
        self.assertEqual(self.site.clock.getDelayedCalls(), [])

    def test_no_farewell_for_ever(self) -> None:
        """A peer that does not read is cut off some seconds after the time for the login; nothing is left behind."""
        client = Client(self.site)
        client.exchange()
        self.site.clock.advance(60)
        self.assertTrue(client.transport.disconnecting)
        self.assertFalse(client.transport.disconnected)
        self.site.clock.advance(FAREWELL)
        self.assertTrue(client.transport.disconnected)
        polite = Client(self.site)
        polite.raw(b"GET / HTTP/1.1\r\n")
        for one in (client, polite):
            one.lose()
        self.assertEqual(self.site.clock.getDelayedCalls(), [])

    def test_malformed(self) -> None:
        """A message that ends too early ends the connection in words."""
        client = Client(self.site)
        client.exchange()
        client.send(Message.SERVICE_REQUEST, b"\0\0\0\x09short")
        self.assertEqual(client.told, "a malformed message: the message is cut short")

    def test_peer_disconnects(self) -> None:
        """A peer that says farewell gets no answer."""
        client = Client(self.site)
        client.exchange()
        client.received()
        client.send(Message.DISCONNECT, uint32(11) + string(b"bye") + string(b""))
        self.assertEqual(client.transport.value(), b"")
        self.assertTrue(client.transport.disconnecting)

    @settings(deadline=None, max_examples=60)
    @given(st.integers(0, 255), st.binary(max_size=80), st.booleans())
    def test_nonsense(self, number: int, payload: bytes, inside: bool) -> None:
        """Whatever message comes, before and behind the login, only that connection can end."""
        client = Client(self.site)
        if inside:
            client.log_in()
            client.open()
        else:
            client.exchange()
        client.send(number, payload)
        self.site.clock.advance(1)
        client.lose()
        self.assertEqual(self.flushLoggedErrors(), [])


class PlacesTests(SiteCase):
    def from_(self, *octets: int) -> list[Client]:
        """A connection from each of these addresses."""
        return [Client(self.limited, peer=IPv4Address("TCP", f"192.0.2.{octet}", 40000)) for octet in octets]

    def setUp(self) -> None:
        super().setUp()
        (self.place / "limited").mkdir()
        self.limited = Site(self.place / "limited", max_logins=4)

    def refused(self) -> float:
        values = self.limited.runtime.metrics.metrics["sftp_logins_over_limit"].values
        return sum(values.values())

    def test_share(self) -> None:
        """One address gets half of the places, others the rest; who comes then is told and counted, before any key."""
        *_, third = self.from_(1, 1, 1)
        self.assertEqual(third.told, "too many logins at once")
        others = self.from_(2, 3)
        late = self.from_(4)[0]
        self.assertEqual([one[0] for one in late.received()], [Message.DISCONNECT])
        self.assertEqual(self.refused(), 2)
        self.assertEqual([one.told for one in others], ["", ""])

    def test_places_come_back(self) -> None:
        """Whoever logs in, leaves, or is too late makes room; whoever was refused does not."""
        inside, leaving, refused = self.from_(1, 1, 1)
        refused.lose()
        self.assertEqual(self.from_(1)[0].told, "too many logins at once")
        inside.log_in()
        leaving.lose()
        again = self.from_(1, 1)
        self.assertEqual([one.told for one in again], ["", ""])
        inside.lose()
        self.assertEqual(self.from_(1)[0].told, "too many logins at once")
        self.limited.clock.advance(60)
        for one in again:
            one.lose()
        self.assertEqual([one.told for one in self.from_(1, 1, 2, 2)], [""] * 4)


class RekeyTests(SiteCase):
    def test_before_the_login(self) -> None:
        """A second key exchange before the login, which costs us more than its peer, ends the connection."""
        client = Client(self.site)
        client.exchange()
        client.ask()
        client.begin()
        self.assertEqual(client.told, "another key exchange before the login")

    def test_file_abuse_42_rekey_by_client(self) -> None:
        """A client may exchange keys again and again; what is written meanwhile waits, and comes in order."""
        for strict in (True, False):
            client = Client(self.site, strict=strict)
            echo = client.sftp()
            expected = b""
            for number in range(5):
                client.data(b"echo before %d " % number)
                client.begin()
                self.assertEqual(echo.channel.room(), 0)
                echo.channel.write(b"meanwhile %d " % number)
                found = client.finish()
                client.data(b"echo after %d " % number)
                found += client.received()
                expected += b"before %d meanwhile %d after %d " % (number, number, number)
                self.assertEqual(data_of(found), b"before %d meanwhile %d after %d " % (number, number, number))
            self.assertEqual(client.session, client.server.sessionID)

    def test_rekey_by_server(self) -> None:
        """After many octets the server begins; the client may send until it has answered."""
        self.site.factory.rekey_after = 10_000
        client = Client(self.site)
        client.sftp()
        client.data(b"x" * 12_000)
        client.data(b"echo late")
        client.begin()
        found = client.finish() + client.received()
        self.assertEqual([one[0] for one in found], [Message.KEXINIT, 31, Message.NEWKEYS, Message.CHANNEL_DATA])
        client.data(b"echo again")
        self.assertEqual(data_of(client.received()), b"again")

    def test_data_in_an_exchange(self) -> None:
        """Data between a client's KEXINIT and its NEWKEYS is against RFC 4253 7.1."""
        client = Client(self.site)
        client.sftp()
        client.begin()
        client.data(b"too early")
        self.assertEqual(client.told, "message 94 in a key exchange")


class FullTests(SiteCase):
    def test_peer_that_does_not_read(self) -> None:
        """While the transport is full there is no room; a peer that goes on asking without reading is disconnected."""
        client = Client(self.site)
        echo = client.sftp()
        client.server.pauseProducing()
        self.assertEqual(echo.channel.room(), 0)
        client.server.resumeProducing()
        self.assertEqual(echo.rooms, 1)
        client.server.pauseProducing()
        for _ in range(20_000):
            client.send(Message.GLOBAL_REQUEST, string(b"keepalive@openssh.com") + b"\1")
            if client.transport.disconnecting:
                break
        self.assertEqual(client.told, "too many answers wait to be read")

    def test_peer_that_never_ends_an_exchange(self) -> None:
        """What waits for the end of a key exchange is bounded, however often the peer reads in between."""
        self.site.factory.rekey_after = 10_000
        client = Client(self.site)
        client.sftp()
        client.data(b"x" * 12_000)  # the server begins an exchange; the client does not answer
        for _ in range(20_000):
            client.server.pauseProducing()
            client.send(Message.GLOBAL_REQUEST, string(b"keepalive@openssh.com") + b"\1")
            client.server.resumeProducing()
            if client.transport.disconnecting:
                break
        self.assertEqual(client.told, "too many answers wait to be read")

    def test_much_at_once(self) -> None:
        """However many answers one piece of input asks for, no more is made than the transport takes."""
        client = Client(self.site)
        echo = client.sftp(window=0xFFFFFFFF)
        write = client.transport.write

        def full(data: bytes) -> None:
            write(data)
            client.server.pauseProducing()  # as Twisted's transports do when more than 64 KiB wait

        client.transport.write = full  # type: ignore[method-assign]
        written = 0

        def received(_: bytes) -> None:
            nonlocal written
            while echo.channel.room() > 0 and written < 1 << 26:
                echo.channel.write(bytes(1 << 16))
                written += 1 << 16

        echo.received = received  # type: ignore[method-assign]
        for _ in range(100):
            client.writer.add(bytes((Message.CHANNEL_DATA,)), uint32(0) + string(b"read, please"))
        client.raw(client.writer.take())
        self.assertEqual(written, 256 << 10)

    def test_drain(self) -> None:
        """When the service stops, who is not in a transfer is disconnected at once, the others when it is done."""
        idle, outside, busy = Client(self.site).log_in(), Client(self.site), Client(self.site)
        outside.exchange()
        busy.sftp()
        self.site.factory.drain()
        self.assertEqual((idle.told, outside.told), ("the service stops",) * 2)
        self.assertFalse(busy.transport.disconnecting)
        busy.send(Message.CHANNEL_EOF, uint32(0))
        busy.send(Message.CHANNEL_CLOSE, uint32(0))
        self.assertEqual(busy.told, "the service stops")

    def test_octets_are_counted(self) -> None:
        """What a connection moved is in the metrics when it has ended."""
        client = Client(self.site)
        client.log_in()
        client.lose()
        values = self.site.runtime.metrics.metrics["sftp_octets"].values
        self.assertEqual(len(values), 2)
        self.assertTrue(all(value > 500 for value in values.values()))
