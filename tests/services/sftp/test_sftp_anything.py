"""Whatever a peer sends: each request has one answer with its number, no fault is logged, nothing leaves the root."""

from __future__ import annotations

import shutil
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.services.sftp.session import Session, SessionTestCase, Threads, text, u32, u64

_NAMES = st.sampled_from([b"a", b"/b", b"d", b"d/a", b".", b"", b"..", b"\xff", b"n" * 256, b".x", b"a\0"])
_HANDLES = st.sampled_from([u32(0), u32(1), u32(2), b"", b"abcd", b"longer than ours"])
_NUMBERS = st.sampled_from([0, 1, 5, 32768, 2**31, 2**32 - 1])
_OFFSETS = st.sampled_from([0, 1, 5, 2**40, 2**63 - 1, 2**63, 2**64 - 1])
_EXTENSIONS = st.sampled_from(
    [b"posix-rename@openssh.com", b"statvfs@openssh.com", b"fsync@openssh.com", b"copy-data", b"home-directory", b"x"]
)
_FIELD = st.one_of(
    _NAMES.map(text),
    _HANDLES.map(text),
    _EXTENSIONS.map(text),
    _NUMBERS.map(u32),
    _OFFSETS.map(u64),
    st.sampled_from([u32(0x1A), u32(0x06), u32(0x2A)]),
    st.binary(max_size=20),
)
_REQUEST = st.tuples(st.one_of(st.integers(3, 20), st.just(200), st.integers(0, 255)), st.lists(_FIELD, max_size=6))


class AnythingTests(SessionTestCase):
    @settings(max_examples=60)
    @given(st.lists(_REQUEST, max_size=30), st.booleans())
    def test_one_answer_each(self, requests: list[tuple[int, list[bytes]]], slow: bool) -> None:
        """Requests of any type, with any fields, are answered once each, whether threads are quick or slow."""
        threads = Threads()
        session = Session(in_thread=threads)
        try:
            sent = []
            for number, (kind, fields) in enumerate(requests, 100):
                if kind == 1:
                    continue
                body = b"".join(fields)
                session.send_raw(struct.pack(">IBI", 5 + len(body), kind, number) + body)
                sent.append(number)
                if not slow:
                    threads.work()
            threads.work()
            assert sorted(number for _, number, _ in session.channel.take()) == sent
            assert session.channel.ended is None
            assert not self.flushLoggedErrors()
        finally:
            self.end(session, threads)
            shutil.rmtree(session.root)
