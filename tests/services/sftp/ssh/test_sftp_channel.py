"""Channels: what may be opened and asked for, windows in both directions, the end with its exit status."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from netsvc.services.sftp.ssh.channel import GRANT, LONGEST_DATA, ROOM, WINDOW
from netsvc.services.sftp.ssh.numbers import Message, OpenFailure
from netsvc.services.sftp.ssh.octets import Octets, string, uint32
from tests.services.sftp.ssh.client import Client, FakeSession, data_of
from tests.services.sftp.ssh.test_sftp_transport import SiteCase

THERE = uint32(7)
FAILURE = bytes((Message.CHANNEL_FAILURE,)) + THERE
SUCCESS = bytes((Message.CHANNEL_SUCCESS,)) + THERE
END = [
    bytes((Message.CHANNEL_EOF,)) + THERE,
    bytes((Message.CHANNEL_CLOSE,)) + THERE,
]


def status(number: int) -> bytes:
    """An exit status."""
    return bytes((Message.CHANNEL_REQUEST,)) + THERE + string(b"exit-status") + b"\0" + uint32(number)


class OpenTests(SiteCase):
    def test_only_sessions(self) -> None:
        """No forwarding is opened: not of ports, sockets, displays or agents."""
        client = Client(self.site).log_in()
        for kind in (b"direct-tcpip", b"direct-streamlocal@openssh.com", b"x11", b"auth-agent@openssh.com", b"tun"):
            answer = Octets(client.open(kind), 1)
            self.assertEqual((answer.uint32(), answer.uint32()), (7, OpenFailure.ADMINISTRATIVELY_PROHIBITED))

    def test_no_global_requests(self) -> None:
        """No port is listened on for a peer."""
        client = Client(self.site).log_in()
        for kind in (b"tcpip-forward", b"streamlocal-forward@openssh.com", b"keepalive@openssh.com"):
            client.send(Message.GLOBAL_REQUEST, string(kind) + b"\1" + string(b"") + uint32(0))
            self.assertEqual(client.received(), [bytes((Message.REQUEST_FAILURE,))])
        client.send(Message.GLOBAL_REQUEST, string(b"no-more-sessions@openssh.com") + b"\0")
        self.assertEqual(client.open()[0], Message.CHANNEL_OPEN_FAILURE)

    def test_requests(self) -> None:
        """A shell, a terminal, a variable, an agent, another subsystem: all refused, and the channel goes on."""
        client = Client(self.site).log_in()
        self.assertEqual(client.open()[0], Message.CHANNEL_OPEN_CONFIRMATION)
        for kind, rest in (
            (b"shell", b""),
            (b"pty-req", string(b"xterm") + bytes(16) + string(b"")),
            (b"env", string(b"LD_PRELOAD") + string(b"x.so")),
            (b"x11-req", b""),
            (b"auth-agent-req@openssh.com", b""),
            (b"subsystem", string(b"netconf")),
        ):
            client.request(kind, rest)
            self.assertEqual(client.received(), [FAILURE])
            client.request(kind, rest, reply=False)
            self.assertEqual(client.received(), [])
        client.request(b"subsystem", string(b"sftp"))
        self.assertEqual(client.received(), [SUCCESS])
        client.request(b"subsystem", string(b"sftp"))
        self.assertEqual(client.received(), [FAILURE])

    def test_most_channels(self) -> None:
        """Ten channels may be open; the number of one that was closed is taken again."""
        client = Client(self.site).log_in()
        for number in range(10):
            answer = Octets(client.open(), 1)
            self.assertEqual((answer.uint32(), answer.uint32()), (7, number))
        self.assertEqual(client.open()[0], Message.CHANNEL_OPEN_FAILURE)
        client.send(Message.CHANNEL_CLOSE, uint32(4))
        self.assertEqual(client.received(), [END[1]])
        answer = Octets(client.open(), 1)
        self.assertEqual((answer.uint32(), answer.uint32()), (7, 4))

    def test_short_messages(self) -> None:
        """A peer that takes messages of some octets only is refused: they would be all headers."""
        client = Client(self.site).log_in()
        self.assertEqual(client.open(longest=1)[0], Message.CHANNEL_OPEN_FAILURE)

    def test_unknown_channel(self) -> None:
        """What is sent to a channel that is not there ends the connection."""
        for number in (Message.CHANNEL_DATA, Message.CHANNEL_EOF, Message.CHANNEL_CLOSE):
            client = Client(self.site).log_in()
            client.send(number, uint32(3) + string(b""))
            self.assertEqual(client.told, "channel 3 is not open")

    def test_no_store(self) -> None:
        """Where the files cannot be had, the request fails and the channel ends."""

        class Broken(FakeSession):
            def sftp(self, channel: object) -> Deferred[object]:  # type: ignore[override]
                return fail(OSError("gone"))

        self.site.factory._session = lambda _, __: Broken([])
        client = Client(self.site).log_in()
        client.open()
        client.request(b"subsystem", string(b"sftp"))
        self.assertEqual(client.received(), [FAILURE, END[1]])

    def test_fault_at_the_beginning(self) -> None:
        """What begins to answer, and breaks, is logged as a fault, and the channel is closed."""

        class Faulty(FakeSession):
            def sftp(self, channel: object) -> Deferred[object]:  # type: ignore[override]
                return succeed(lambda: 1 // 0)

        self.site.factory._session = lambda _, __: Faulty([])
        client = Client(self.site).log_in()
        client.open()
        client.request(b"subsystem", string(b"sftp"))
        self.assertEqual(client.received(), [SUCCESS, END[-1]])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_data_before_the_answer(self) -> None:
        """What is sent before the store is there waits for it."""
        opening: Deferred[object] = Deferred()

        class Slow(FakeSession):
            def sftp(self, channel: object) -> Deferred[object]:  # type: ignore[override]
                return opening

        made = self.site.made
        session = FakeSession(made)
        self.site.factory._session = lambda _, __: Slow([])
        client = Client(self.site).log_in()
        client.open()
        channel = client.server._connection._channels[0]  # type: ignore[union-attr]

        def begun() -> object:
            found: list[object] = []
            session.sftp(channel).addCallback(lambda begin: found.append(begin()))
            return found[0]

        client.request(b"subsystem", string(b"sftp"))
        client.data(b"echo early")
        self.assertEqual(client.received(), [])
        opening.callback(begun)
        found = client.received()
        self.assertEqual((found[0], data_of(found)), (SUCCESS, b"early"))


class WindowTests(SiteCase):
    def test_peers_window(self) -> None:
        """No more is sent than the peer has room for, in messages that it takes; the rest goes when there is room."""
        client = Client(self.site)
        echo = client.sftp(window=1000, longest=300)
        self.assertEqual(echo.channel.room(), 1000)
        echo.channel.write(b"a" * 1500)
        found = client.received()
        self.assertEqual([len(one) - 9 for one in found], [300, 300, 300, 100])
        self.assertEqual(echo.channel.room(), 0)
        echo.channel.write(b"b" * 10)
        client.send(Message.CHANNEL_WINDOW_ADJUST, uint32(0) + uint32(600))
        self.assertEqual(data_of(client.received()), b"a" * 500 + b"b" * 10)
        self.assertEqual((echo.channel.room(), echo.rooms), (90, 1))

    def test_room_is_bounded(self) -> None:
        """However wide a window is, only so much is made at once; one over 4 GiB is against the rules."""
        client = Client(self.site)
        echo = client.sftp(window=0xFFFFFFFF)
        self.assertEqual(echo.channel.room(), ROOM)
        client.send(Message.CHANNEL_WINDOW_ADJUST, uint32(0) + uint32(1))
        self.assertEqual(client.told, "a window of more than 4 GiB")

    def test_our_window(self) -> None:
        """The peer is told to go on after each part of the window; not while what answers has paused it."""
        client = Client(self.site)
        echo = client.sftp()
        for _ in range(GRANT // LONGEST_DATA):
            client.data(b"x" * LONGEST_DATA)
        adjust = bytes((Message.CHANNEL_WINDOW_ADJUST,)) + THERE
        self.assertEqual(client.received(), [adjust + uint32(GRANT)])
        echo.channel.pause()
        for _ in range(WINDOW // LONGEST_DATA):
            client.data(b"x" * LONGEST_DATA)
        self.assertEqual(client.received(), [])
        self.assertEqual(len(echo.got), WINDOW + GRANT)
        echo.channel.resume()
        self.assertEqual(client.received(), [adjust + uint32(WINDOW)])
        echo.channel.pause()
        for _ in range(WINDOW // LONGEST_DATA):
            client.data(b"x" * LONGEST_DATA)
        client.data(b"x")
        self.assertEqual(client.told, "more data than the window has room for")

    def test_too_long(self) -> None:
        """One message with more data than was agreed ends the connection."""
        client = Client(self.site)
        client.sftp()
        client.data(b"x" * (LONGEST_DATA + 1))
        self.assertEqual(client.told, "more data than the window has room for")

    def test_wrong_length(self) -> None:
        """Data that is not as long as it says ends the connection."""
        for rest in (uint32(5) + b"four", uint32(3) + b"four", b""):
            client = Client(self.site)
            client.sftp()
            client.send(Message.CHANNEL_DATA, uint32(0) + rest)
            self.assertIn("malformed", client.told)

    def test_extended_data(self) -> None:
        """What comes as stderr is counted, and read by nobody."""
        client = Client(self.site)
        echo = client.sftp()
        for _ in range(GRANT // 1024):
            client.send(Message.CHANNEL_EXTENDED_DATA, uint32(0) + uint32(1) + string(b"x" * 1024))
        self.assertEqual(client.received()[0][0], Message.CHANNEL_WINDOW_ADJUST)
        self.assertEqual(echo.got, b"")


class EndTests(SiteCase):
    def test_subsystem_ends_with_its_peer(self) -> None:
        """When the peer sends no more, the subsystem ends with status 0: scp and others want it."""
        client = Client(self.site)
        echo = client.sftp()
        client.send(Message.CHANNEL_EOF, uint32(0))
        self.assertEqual(client.received(), [status(0), *END])
        client.send(Message.CHANNEL_CLOSE, uint32(0))
        self.assertEqual((client.received(), echo.ends), ([], 1))

    def test_command(self) -> None:
        """A command's answer comes whole, with its status, though the peer has sent its end at once."""
        client = Client(self.site).log_in()
        client.open(window=10)
        client.request(b"exec", string(b"sha256sum x"))
        client.send(Message.CHANNEL_EOF, uint32(0))
        found = client.received()
        self.assertEqual((found[0], data_of(found), len(found)), (SUCCESS, b"you said s", 2))
        client.send(Message.CHANNEL_WINDOW_ADJUST, uint32(0) + uint32(100))
        found = client.received()
        self.assertEqual((data_of(found), found[1:]), (b"ha256sum x", [status(3), *END]))

    def test_end_waits(self) -> None:
        """What was written before the end is sent before it; what comes behind it is dropped."""
        client = Client(self.site)
        echo = client.sftp(window=5)
        echo.channel.write(b"0123456789")
        echo.channel.end(1)
        echo.channel.write(b"late")
        self.assertEqual(data_of(client.received()), b"01234")
        client.send(Message.CHANNEL_WINDOW_ADJUST, uint32(0) + uint32(100))
        found = client.received()
        self.assertEqual((data_of(found), found[1:]), (b"56789", [status(1), *END]))
        client.data(b"what is this?")
        self.assertEqual((echo.got, client.received()), (b"", []))

    def test_closed_by_peer(self) -> None:
        """A peer may close at any time; what answers is told once."""
        client = Client(self.site)
        echo = client.sftp(window=5)
        echo.channel.write(b"0123456789")
        client.received()
        client.send(Message.CHANNEL_CLOSE, uint32(0))
        self.assertEqual((client.received(), echo.ends), ([END[1]], 1))
        echo.channel.write(b"late")
        echo.channel.resume()
        echo.channel.end(0)
        client.lose()
        self.assertEqual((client.transport.value(), echo.ends), (b"", 1))

    def test_lost(self) -> None:
        """When the connection is gone, what answers is told."""
        client = Client(self.site)
        echo = client.sftp()
        client.lose()
        echo.channel.write(b"late")
        self.assertEqual(echo.ends, 1)
