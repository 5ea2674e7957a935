"""Forms as they arrive: whole, octet by octet, with what should not be there, and any octets at all."""

from __future__ import annotations

import contextlib
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.upload.form.wire import (
    MAX_PARTS,
    BadFormError,
    Event,
    FileBegins,
    FileEnds,
    FormReader,
    is_form,
)

TYPE = b"multipart/form-data; boundary=----WebKitFormBoundaryAbc123"
BOUNDARY = b"----WebKitFormBoundaryAbc123"


def part(name: str, data: bytes, filename: str | None = None) -> bytes:
    """One part, as a browser writes it."""
    named = "" if filename is None else f'; filename="{filename}"'
    kind = "" if filename is None else "Content-Type: application/octet-stream\r\n"
    head = f'Content-Disposition: form-data; name="{name}"{named}\r\n{kind}\r\n'
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + data + b"\r\n"


def form(*parts: bytes) -> bytes:
    """A whole form."""
    return b"".join(parts) + b"--" + BOUNDARY + b"--\r\n"


def read(*blocks: bytes) -> list[tuple[str, bytes]]:
    """The files of a form that comes in blocks."""
    reader = FormReader(TYPE)
    found: list[tuple[str, bytes]] = []
    name, data = None, b""
    events: list[Event] = [event for block in blocks for event in reader.feed(block)]
    for event in events:
        if isinstance(event, FileBegins):
            assert name is None
            name, data = event.name, b""
        elif isinstance(event, FileEnds):
            assert name is not None
            found.append((name, data))
            name = None
        else:
            assert name is not None
            assert event
            data += event
    reader.finish()
    return found


class FormReaderTests(SynchronousTestCase):
    def test_form_files(self) -> None:
        """Files come with their names and octets; fields, and the empty part of no choice, are passed over."""
        body = form(
            part("note", b"hello"),
            part("file", b"one\r\n--two", "a b.txt"),
            part("file", b"", ""),
            part("file", b"", "empty"),
            part("file", b"\x00\xff", "日本語%22.txt"),
        )
        want = [("a b.txt", b"one\r\n--two"), ("empty", b""), ('日本語".txt', b"\x00\xff")]
        self.assertEqual(read(body), want)
        self.assertEqual(read(*(body[at : at + 1] for at in range(len(body)))), want)
        self.assertEqual(read(body + b"an epilogue"), want)
        self.assertEqual(read(body[:-2], body[-2:], b"an epilogue", b"\r\n--x"), want)

    def test_form_without_files(self) -> None:
        """A form may have no file at all."""
        self.assertEqual(read(form(part("note", b"hello"))), [])
        self.assertEqual(read(form()), [])

    def test_form_of_old_browsers(self) -> None:
        """A path of another system is reduced to its last name; file names with controls stay as they are, decoded."""
        self.assertEqual(read(form(part("f", b"x", "C:\\dir\\a.txt"))), [("a.txt", b"x")])
        self.assertEqual(read(form(part("f", b"x", "a%0D%0Ab"))), [("a\r\nb", b"x")])
        self.assertEqual(read(form(part("f", b"x", "../../etc/passwd"))), [("../../etc/passwd", b"x")])

    def test_form_types(self) -> None:
        """Only multipart/form-data with a boundary is a form with files."""
        for kind, is_one in (
            (TYPE, True),
            (b"Multipart/Form-Data;boundary=x", True),
            (b"application/x-www-form-urlencoded", False),
            (b"multipart/mixed; boundary=x", False),
            (None, False),
        ):
            self.assertEqual(is_form(kind), is_one)
        for bad in (b"", b"; boundary=", b'; boundary=" "', b"; boundary=" + b"x" * 71, b'; boundary="a\xe4"'):
            with self.assertRaises(BadFormError):
                FormReader(b"multipart/form-data" + bad)

    def test_form_that_is_broken(self) -> None:
        """A form that is cut off, has a bad or endless header, or too many parts is refused in words."""
        whole = form(part("file", b"data", "a"))
        for at in range(len(whole) - 4):
            reader = FormReader(TYPE)
            if at:
                reader.feed(whole[:at])
            self.assertRaises(BadFormError, reader.finish)
        begin = b"--" + BOUNDARY + b"\r\n"
        for bad in (
            begin + b"\r\nno disposition",
            begin + b"Content-Disposition: form-data; name=f; filename=a\nb\r\n\r\n",
            begin + b"Content-Disposition: form-data; name=f; filename=a\rb\r\n\r\n",
            begin + b"Content-Disposition: attachment; filename=a\r\n\r\n",
            begin + b"Content-Disposition: form-data; name=f; filename=\xff\r\n\r\n",
            begin + b"no colon\r\n\r\n",
            begin + b"Content-Disposition: form-data; name=f; filename=a\r\n\nA: b\r\n\r\n",
            begin + b"X: " + b"x" * 10_000,
            begin + b"".join(b"X-%d: x\r\n" % at for at in range(100)) + b"\r\n",
            begin + b"A: b\nC: d\r\n\r\n",
            part("a", b"x") * (MAX_PARTS + 1),
        ):
            with self.assertRaises(BadFormError):
                read(*(bad[at : at + 1] for at in range(len(bad))))
            with self.subTest(bad=bad[:60]), self.assertRaises(BadFormError) as caught:
                FormReader(TYPE).feed(bad)
            self.assertRegex(caught.exception.reason, "^the form is broken: [a-z]")

    def test_form_with_a_preamble(self) -> None:
        """What does not begin with its boundary is refused at once, however it is cut."""
        body = form(part("file", b"data", "a"))
        for before in (b"\r\n", b"preamble\r\n", b"x", b"-"):
            with self.assertRaises(BadFormError):
                FormReader(TYPE).feed(before + body)
            with self.assertRaises(BadFormError):
                read(*((before + body)[at : at + 1] for at in range(len(before + body))))

    def test_form_memory_is_flat(self) -> None:
        """A part of 13 MiB without end, and one that nearly has the boundary all the time, are read in flat memory."""
        for block in (b"x" * 65536, (b"\r\n--" + BOUNDARY[:-1]) * 2000):
            reader = FormReader(TYPE)
            reader.feed(part("file", b"", "a")[:-2])
            tracemalloc.start()
            for _ in range(200):
                reader.feed(block)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(most, 1 << 20)

    @given(
        st.lists(st.tuples(st.text("abc.-é日", min_size=1, max_size=20), st.binary(max_size=200)), max_size=4),
        st.lists(st.integers(1, 40), min_size=1, max_size=8),
    )
    @settings(deadline=None)
    def test_form_of_any_files(self, files: list[tuple[str, bytes]], sizes: list[int]) -> None:
        """Any files come as they were sent, however the octets are split."""
        body = form(*(part("file", data, name) for name, data in files))
        blocks, at = [], 0
        while at < len(body):
            size = sizes[len(blocks) % len(sizes)]
            blocks.append(body[at : at + size])
            at += size
        self.assertEqual(read(*blocks), files)

    @given(st.lists(st.binary(min_size=1, max_size=60), max_size=10))
    @settings(deadline=None)
    def test_form_of_any_octets(self, blocks: list[bytes]) -> None:
        """Any octets are a form, or refused as none; nothing else happens."""
        with contextlib.suppress(BadFormError):
            read(b"--" + BOUNDARY + b"\r\n", *blocks)
