"""HTTP/2: deadlines, floods, and whatever octets may come."""

from __future__ import annotations

import gc
import struct
import tempfile
from typing import Any

from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.http2.connection import LINGER, LINGER_OCTETS
from netsvc.services.http.http2.floods import FRAMES, RESETS
from netsvc.services.http.http2.streams import CUT_COUNTS
from netsvc.services.http.http2.wire import PREFACE, FrameReader, frame_head
from tests.services.http.http2.h2_rig import ErrorCodes, Peer2
from tests.services.http.http_rig import Rig, Sink, hello, wait, write

CALM = ErrorCodes.ENHANCE_YOUR_CALM


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    """One frame."""
    return frame_head(len(payload), kind, flags, stream) + payload


def head_block(path: str = "/") -> bytes:
    """A request's fields, encoded by an encoder that has encoded nothing before."""
    return Encoder().encode([(":method", "GET"), (":scheme", "https"), (":authority", "example.com"), (":path", path)])


class FloodTests(SynchronousTestCase):
    def flood(self, octets: bytes, most: int, route: Any = hello, **options: Any) -> Peer2:
        """Send the same octets until the connection ends; fail when it does not after `most` times."""
        peer = Peer2(Rig(route=route, **options))
        for _ in range(most):
            peer.raw(octets)
            if peer.goaways:
                break
        self.assertEqual(peer.error, CALM)
        self.assertTrue(peer.transport.disconnecting)
        self.assertLess(len(peer.protocol._streams.open), 2)
        return peer

    def test_core_11_frames(self) -> None:
        """PING, SETTINGS, WINDOW_UPDATE, PRIORITY, unknown and empty DATA frames without end: ENHANCE_YOUR_CALM."""
        for octets in (
            frame(6, bytes(8)),
            frame(4),
            frame(4, struct.pack(">HL", 4, 70000)),
            frame(8, struct.pack(">L", 1)),
            frame(2, bytes(5), stream=1),
            frame(0xEE, b"?"),
        ):
            self.flood(octets, FRAMES + 1)
        peer = Peer2(Rig(route=wait))
        stream = peer.open(method="POST", end=False)
        peer.raw(frame(0, stream=stream) * (FRAMES + 10))
        self.assertEqual(peer.error, CALM)

    def test_core_11_frames_over_time(self) -> None:
        """As many frames over a longer time are no flood, nor are those that come with requests."""
        peer = Peer2(Rig(route=hello))
        for _ in range(2 * FRAMES // 50):
            peer.raw(frame(6, bytes(8)) * 50)
            peer.rig.clock.advance(1)
            peer.get()
        for _ in range(2 * FRAMES):
            stream = peer.open()
            peer.raw(frame(8, struct.pack(">L", 1), stream=stream) + frame(8, struct.pack(">L", 1)))
        self.assertEqual(peer.goaways, [])

    def test_core_11_long_settings(self) -> None:
        """SETTINGS with thousands of unknown entries count for what they are."""
        self.flood(frame(4, b"".join(struct.pack(">HL", 0x1000 + at, at) for at in range(2700))), 10)

    def test_core_11_rapid_reset(self) -> None:
        """Requests that are reset at once (CVE-2023-44487) end the connection; their routes have all heard of it."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        lost = 0
        for _ in range(2 * RESETS):
            if peer.goaways:
                break
            stream = peer.open(flush=False)
            peer.h2.reset_stream(stream, ErrorCodes.CANCEL)
            peer.flush()
        self.assertEqual(peer.error, CALM)
        self.assertLessEqual(len(rig.exchanges), RESETS + 1)
        for exchange in rig.exchanges:
            exchange.lost.addCallback(lambda _: None)
            lost += exchange.lost.called
        self.assertEqual(lost, len(rig.exchanges))

    def test_core_11_rapid_reset_piles_nothing_up(self) -> None:
        """A request that was reset counts for as long as its route has it in hand, so that no more run than may."""
        rig = Rig(route=wait, http2_max_streams=10)
        peer = Peer2(rig)
        for _ in range(30):
            stream = peer.open(flush=False)
            peer.h2.reset_stream(stream, ErrorCodes.CANCEL)
            peer.flush()
        self.assertEqual(len(rig.exchanges), 10)
        rig.exchanges.clear()
        gc.collect()
        stream = peer.open()
        self.assertIsNone(peer.answers.get(stream))
        self.assertEqual(len(rig.exchanges), 1)

    def test_core_11_reset_is_forgotten(self) -> None:
        """A route that keeps an exchange for good does not stop a connection for good."""
        rig = Rig(route=wait, http2_max_streams=1)
        peer = Peer2(rig)
        peer.h2.reset_stream(peer.open(), ErrorCodes.CANCEL)
        self.assertEqual(peer.answers[peer.open()].reset, ErrorCodes.REFUSED_STREAM)
        rig.clock.advance(CUT_COUNTS)
        self.assertNotIn(peer.open(), peer.answers)
        self.assertEqual(len(rig.exchanges), 2)

    def test_core_11_streams(self) -> None:
        """More streams than may be open at a time are refused, and may be asked for again."""
        rig = Rig(route=wait, http2_max_streams=2)
        peer = Peer2(rig)
        self.assertEqual(peer.h2.remote_settings.max_concurrent_streams, 2)
        peer.h2.remote_settings[3] = 100
        peer.h2.remote_settings.acknowledge()
        for _ in range(3):
            peer.open()
        self.assertEqual(peer.answers[5].reset, ErrorCodes.REFUSED_STREAM)
        hello(rig.exchanges[0])
        peer.read()
        peer.open()
        self.assertEqual(len(rig.exchanges), 3)

    def test_core_11_continuation(self) -> None:
        """A head in too many frames, or of too many octets, is not collected."""
        for payload, most in ((b"", 40), (bytes(1 << 14), 5)):
            peer = Peer2(Rig(route=hello))
            peer.raw(frame(1, b"", stream=1))
            for _ in range(most):
                if not peer.goaways:
                    peer.raw(frame(9, payload, stream=1))
            self.assertEqual(peer.error, CALM)

    def test_core_11_continued(self) -> None:
        """A head in several frames is one head."""
        block = head_block("/continued")
        peer = Peer2(Rig(route=hello))
        peer.h2.send_headers(1, ((b":method", b"GET"),), end_stream=True)
        peer.h2.data_to_send()
        peer.raw(frame(1, block[:3], flags=1, stream=1) + frame(9, stream=1))
        peer.raw(frame(9, block[3:], flags=4, stream=1))
        self.assertEqual(peer.answers[1].body, b"/continued")

    def test_core_11_hpack_bomb(self) -> None:
        """A few octets that stand for megabytes of fields are not inflated."""
        encoder = Encoder()
        block = encoder.encode([("x", "y" * 4000)])
        peer = Peer2(Rig(route=hello))
        peer.raw(frame(1, head_block() + block + b"\xbe" * 10_000, flags=5, stream=1))
        self.assertEqual(peer.error, CALM)
        self.assertEqual(peer.rig.exchanges, [])

    def test_core_11_frame_size(self) -> None:
        """A frame that says that it is too long is not waited for."""
        peer = Peer2(Rig(route=hello))
        peer.raw(b"\x00\x40\x01\x00\x00\x00\x00\x00\x01")
        self.assertEqual(peer.error, ErrorCodes.FRAME_SIZE_ERROR)

    def test_core_11_out_of_order(self) -> None:
        """Frames where they may not be end the connection with PROTOCOL_ERROR."""
        for octets in (
            frame(9, stream=1),
            frame(1, b"", stream=1) + frame(6, bytes(8)),
            frame(3, bytes(4), stream=7),
            frame(1, head_block(), flags=5, stream=2),
            frame(1, b"\xff\xff\xff\xff", flags=5, stream=1),
            frame(0, b"x", stream=9),
            frame(2, bytes(5)),
            frame(7, bytes(8), stream=1),
        ):
            peer = Peer2(Rig(route=hello))
            peer.raw(octets)
            self.assertEqual(peer.error, ErrorCodes.PROTOCOL_ERROR, octets)
        for octets in (frame(2, bytes(4), stream=1), frame(7, bytes(7)), frame(6, bytes(7)), frame(3, b"", stream=1)):
            peer = Peer2(Rig(route=wait))
            peer.open()
            peer.raw(octets)
            self.assertEqual(peer.error, ErrorCodes.FRAME_SIZE_ERROR, octets)

    def test_core_11_data_for_closed_streams(self) -> None:
        """Data for a stream that is closed are dropped, and counted."""
        peer = Peer2(Rig(route=hello))
        peer.open(method="POST", end=False)
        for _ in range(FRAMES + 10):
            if not peer.goaways:
                peer.raw(frame(0, b"x", stream=1))
        self.assertEqual(peer.error, CALM)

    def test_core_11_silent_reader(self) -> None:
        """A peer that reads nothing and asks on is not read any more once much is queued for it; and then is again."""
        peer = Peer2(Rig(route=lambda one: one.answer(200, ((b"x", b"y" * 4000),), b"")))
        peer.transport.blocked = True
        for _ in range(200):
            peer.open(flush=False)
            octets = peer.h2.data_to_send()
            if peer.transport.deaf:
                break
            peer.protocol.dataReceived(octets)
        self.assertTrue(peer.transport.deaf)
        self.assertLess(len(peer.transport.dataBuffer), 1 << 19)
        peer.unblock()
        self.assertFalse(peer.transport.deaf)

    def test_core_11_octets_after_the_end(self) -> None:
        """What comes after the last GOAWAY is dropped, and too much of it cut off."""
        peer = Peer2(Rig(route=hello))
        peer.raw(frame(9, stream=1))
        peer.protocol.dataReceived(b"x" * 1000)
        self.assertFalse(peer.transport.aborted)
        peer.protocol.dataReceived(b"x" * LINGER_OCTETS)
        self.assertTrue(peer.transport.aborted)


class TimeTests(SynchronousTestCase):
    def test_core_11_first_request(self) -> None:
        """A peer that asks for nothing is closed after head_timeout, PINGs or not; half a preface is not enough."""
        for octets in (b"", PREFACE[:10], PREFACE, PREFACE + frame(4) + frame(6, bytes(8))):
            peer = Peer2(Rig(route=hello), greet=False)
            peer.raw(octets)
            peer.wait(14)
            self.assertFalse(peer.transport.disconnecting)
            peer.wait(4)
            self.assertTrue(peer.transport.disconnecting)
            peer.wait(LINGER + 2)
            self.assertTrue(peer.transport.aborted)
            peer.leave()

    def test_core_11_slow_head(self) -> None:
        """A head that has begun is whole within head_timeout, whatever else is asked or answered."""
        rig = Rig(route=wait)
        peer = Peer2(rig)
        peer.open()
        peer.raw(frame(1, b"", stream=3))
        peer.wait(20)
        self.assertTrue(peer.transport.disconnecting)
        self.assertTrue(rig.exchanges[0].lost.called)

    def test_core_11_idle(self) -> None:
        """A connection without requests is closed after keepalive_timeout; one whose answer is awaited is not."""
        rig = Rig(route=wait, keepalive_timeout=30.0)
        peer = Peer2(rig)
        peer.open()
        peer.wait(100)
        hello(rig.exchanges[0])
        peer.wait(28)
        self.assertFalse(peer.transport.disconnecting)
        peer.wait(5)
        self.assertTrue(peer.transport.disconnecting)
        self.assertEqual(peer.goaways, [(1, 0)])

    def test_core_11_body_rate(self) -> None:
        """A body that comes too slowly is 408; one that is not read counts no time, nor does one that nobody wants."""

        def route(exchange: Any) -> None:
            if exchange.head.path != b"/unwanted":
                exchange.receive_body(Sink())
            if exchange.head.path == b"/paused":
                exchange.pause_body()

        peer = Peer2(Rig(route=route))
        streams = [peer.open(path, method="POST", end=False) for path in ("/", "/paused", "/unwanted", "/fast")]
        for _ in range(30):
            peer.data(streams[3], b"x" * 600)
            peer.wait(1)
        self.assertEqual([peer.answers[one].status if one in peer.answers else 0 for one in streams], [408, 0, 0, 0])
        # A frame that is on its way counts with what of it has come.
        begun = frame(0, b"x" * 16000, stream=streams[3])
        for at in range(0, 16000, 600):
            peer.raw(begun[at : at + 600])
            peer.wait(1)
        self.assertNotIn(streams[3], peer.answers)
        peer.wait(80)
        self.assertEqual(peer.answers[streams[3]].status, 408)

    def test_core_11_slow_reader(self) -> None:
        """An answer whose window is not opened is reset after send_timeout; others of the connection go on."""
        peer = Peer2(Rig(route=lambda one: one.answer(200, (), b"a" * 2000)), takes=False, window=1000)
        stream = peer.open()
        peer.wait(50)
        self.assertIsNone(peer.answers[stream].reset)
        peer.wait(20)
        self.assertEqual(peer.answers[stream].reset, ErrorCodes.CANCEL)
        self.assertTrue(peer.rig.exchanges[0].finished)
        self.assertFalse(peer.transport.disconnecting)

    def test_core_11_slow_connection(self) -> None:
        """A peer that takes nothing at all is cut off after send_timeout, also when the connection is ending."""
        for ending in (False, True):
            peer = Peer2(Rig(route=lambda one: one.answer(200, (), b"a" * 60_000)))
            peer.transport.blocked = True
            for _ in range(2):
                peer.open()
            if ending:
                peer.raw(frame(9, stream=1))
            peer.wait(50)
            self.assertFalse(peer.transport.aborted)
            peer.wait(20)
            self.assertTrue(peer.transport.aborted)


class RecordTests(SynchronousTestCase):
    def test_static_access_log(self) -> None:
        """Every request is recorded once: answered, from memory, cut, or no request at all; and counted."""
        root = tempfile.mkdtemp()
        write(root, "a", b"some text")
        said: list[Any] = []

        class Record:
            def request(self, *found: Any, **more: Any) -> None:
                said.append((found[1].path, *found[2:], more.get("aborted", False)))

            def bad_request(self, *found: Any) -> None:
                said.append(found[:3])

        rig = Rig(root)
        rig.factory.access_log = Record()  # type: ignore[assignment]
        peer = Peer2(rig, takes=False, window=4)
        peer.h2.update_settings({4: 65535})
        peer.flush()
        for _ in range(3):
            etag = peer.get("/a").headers[b"etag"].decode()
        for _ in range(3):
            peer.get("/a", ("if-none-match", etag))
        peer.get("/#")
        self.assertEqual(said[:3], [(b"/a", 200, 9, False)] * 3)
        self.assertEqual(said[3:6], [(b"/a", 304, 0, False)] * 3)
        self.assertEqual(said[6], ("192.0.2.7", 400, "malformed request target"))
        said.clear()
        peer.h2.update_settings({4: 4})
        peer.flush()
        peer.open("/a")
        self.assertEqual(said, [])
        peer.leave()
        self.assertEqual(said, [(b"/a", 200, 4, True)])
        rig.factory.stopFactory()
        counted = rig.metrics.metrics["http_requests"].values
        self.assertEqual(counted[("service", "http"), ("status", "200")], 4)
        self.assertEqual(counted[("service", "http"), ("status", "304")], 3)


_PAYLOADS = st.one_of(
    st.binary(max_size=40),
    st.just(head_block()),
    st.just(bytes(8)),
    st.just(struct.pack(">L", 100)),
    st.just(struct.pack(">HL", 4, 10)),
)
_FRAMES = st.builds(
    lambda kind, payload, flags, stream: frame(kind, payload, flags=flags, stream=stream),
    st.sampled_from((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x20)),
    _PAYLOADS,
    st.sampled_from((0, 1, 4, 5, 8, 0x0D, 0x25, 0x2D)),
    st.sampled_from((0, 1, 2, 3, 5, 7, 0x7FFFFFFF)),
)


class AnyOctetsTests(SynchronousTestCase):
    @given(st.lists(_FRAMES, max_size=25), st.data())
    def test_core_11_any_frames(self, frames: list[bytes], data: Any) -> None:
        """Whatever frames come, however cut: no exception, whole frames in answer, each stream its own answer."""
        octets = PREFACE + frame(4) + b"".join(frames)
        rig = Rig(route=hello)
        peer = Peer2(rig, greet=False)
        at = 0
        while at < len(octets):
            step = data.draw(st.integers(1, 60))
            peer.protocol.dataReceived(octets[at : at + step])
            at += step
        self._look_at(peer)
        whole = Peer2(Rig(route=hello), greet=False)
        whole.protocol.dataReceived(octets)
        self.assertEqual(self._look_at(whole), peer.goaways)
        peer.leave()
        self.assertEqual(peer.protocol._streams.open, {})
        self.assertEqual(self.flushLoggedErrors(), [])

    def _look_at(self, peer: Peer2) -> list[tuple[int, int]]:
        peer._without_goaway(peer.transport.value())
        return peer.goaways

    @given(st.binary(max_size=200))
    def test_core_11_any_octets(self, octets: bytes) -> None:
        """Nor do octets that are no frames at all raise anything."""
        for begin in (b"", PREFACE, PREFACE + frame(4)):
            peer = Peer2(Rig(route=hello), greet=False)
            peer.protocol.dataReceived(begin + octets)
            peer.leave()
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.binary(max_size=300))
    def test_core_11_any_fields(self, block: bytes) -> None:
        """A block of fields of any octets is a request, a reset stream or the end of the connection."""
        peer = Peer2(Rig(route=hello))
        peer.protocol.dataReceived(frame(1, block, flags=5, stream=1))
        self.assertEqual(self.flushLoggedErrors(), [])

    @given(st.lists(st.integers(1, 40), max_size=30))
    def test_core_11_cuts(self, cuts: list[int]) -> None:
        """Frames come out of the reader the same however the octets were cut."""
        frames = [frame(4), frame(1, b"abc", stream=1), frame(9, b"d", flags=4, stream=1), frame(0, b"x" * 99)]
        octets = PREFACE + b"".join(frames)
        reader = FrameReader(1000)
        found = []
        for step in [*cuts, len(octets)]:
            reader.receive(octets[:step])
            octets = octets[step:]
            while (one := reader.next()) is not None:
                found.append(one.octets)
        self.assertEqual(found, frames)
        self.assertFalse(reader.in_head)
