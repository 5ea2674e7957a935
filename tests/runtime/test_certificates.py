"""Certificates as files, and which of them answers for a name."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.certificates import (
    MOST_OCTETS,
    BadCertificateError,
    Certificate,
    Source,
    read,
    sources_in,
)
from netsvc.runtime.server_names import ServerNames, best
from tests.runtime.certificates import DAY, make_pem

NOW = 1_800_000_000.0  # seconds since the epoch


def certificate(
    name: str, *names: bytes, algorithm: str = "ec", begins: float = NOW - DAY, ends: float = NOW + DAY
) -> Certificate:
    """A certificate that was never read."""
    path = Path(name)
    return Certificate(
        source=Source(name, (path,), path),
        chain=(),
        key=None,
        names=frozenset(names),
        algorithm=algorithm,
        begins=begins,
        ends=ends,
    )


class FilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)

    def refused(self, source: Source) -> str:
        return str(self.assertRaises(BadCertificateError, read, source))

    def test_layouts(self) -> None:
        """A directory has certificates in three forms; whatever else is there is left alone."""
        pem, key = make_pem(["one.example"])
        (self.directory / "a.pem").write_bytes(key + pem)
        (self.directory / "b.crt").write_bytes(pem)
        (self.directory / "c.cert").write_bytes(pem)
        for name in ("b.key", "c.key"):
            (self.directory / name).write_bytes(key)
        live = self.directory / "www.example.org"
        archive = self.directory / ".archive"
        for folder in (live, archive, self.directory / "empty"):
            folder.mkdir()
        (archive / "fullchain1.pem").write_bytes(pem)
        (archive / "privkey1.pem").write_bytes(key)
        (live / "fullchain.pem").symlink_to("../.archive/fullchain1.pem")
        (live / "privkey.pem").symlink_to("../.archive/privkey1.pem")
        (self.directory / "README").write_text("certbot's")
        (self.directory / ".hidden.pem").write_text("an editor's")
        (self.directory / "loop").symlink_to("loop")
        found = sources_in(self.directory)
        self.assertEqual([one.name for one in found], ["a.pem", "b.crt", "c.cert", "www.example.org"])
        self.assertEqual([one.stem for one in found], ["a", "b", "c", "www.example.org"])
        for source in found:
            self.assertEqual(read(source).names, {b"one.example"})
        self.assertRaises(OSError, sources_in, self.directory / "none")

    def test_unseen_is_there(self) -> None:
        """A folder that may not be looked into has a certificate that cannot be read: it was not removed."""
        folder = self.directory / "closed"
        folder.mkdir()

        def stat(path: Path, *_: object) -> os.stat_result:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "stat", stat)
        self.assertEqual([one.name for one in sources_in(self.directory)], ["closed"])

    def test_read(self) -> None:
        """Names are in lower case and A-form; the chain keeps its order; the key is not shown."""
        signer = make_pem(["signer"])
        pem, key = make_pem(
            ["WWW.Example.ORG", "xn--bcher-kva.example", "*.example.org"], signer=signer, days=30, now=NOW
        )
        (self.directory / "a.crt").write_bytes(pem)
        (self.directory / "chain.crt").write_bytes(signer[0])
        (self.directory / "a.key").write_bytes(key)
        source = Source("a.crt", (self.directory / "a.crt", self.directory / "chain.crt"), self.directory / "a.key")
        found = read(source)
        self.assertEqual(found.names, {b"www.example.org", b"xn--bcher-kva.example", b"*.example.org"})
        self.assertEqual(found.shown_names(), "*.example.org, www.example.org, xn--bcher-kva.example")
        self.assertEqual(len(found.chain), 2)
        self.assertEqual((found.begins, found.ends), (NOW - DAY, NOW + 30 * DAY))
        self.assertEqual([found.valid_at(NOW + days * DAY) for days in (-2, 0, 31)], [False, True, False])
        self.assertNotIn("key", repr(found).replace(".key", "").replace("key=PosixPath", ""))

    def test_no_names(self) -> None:
        """A certificate without subjectAltName is for no name, whatever its subject is called."""
        pem, key = make_pem([])
        (self.directory / "a.pem").write_bytes(pem + key)
        found = read(sources_in(self.directory)[0])
        self.assertEqual((found.names, found.shown_names()), (frozenset(), "no name"))

    def test_refused(self) -> None:
        """What cannot be used is one clear line with its file; nothing blocks and nothing huge is read."""
        pem, key = make_pem(["a"])
        other = make_pem(["a"])[1]
        a = self.directory / "a.pem"
        source = Source("a.pem", (a,), a)
        self.assertIn("No such file", self.refused(source))
        for octets, complaint in (
            (b"", "it is not in PEM form, is damaged, or is encrypted"),
            (key, f"the certificate {a} cannot be used"),
            (pem, f"the private key {a} cannot be used"),
            (pem[: len(pem) // 2] + key, "damaged"),
            (pem + other, f"the private key {a} does not belong to the certificate {a}"),
            (b" " * (MOST_OCTETS + 1), "longer than"),
        ):
            a.write_bytes(octets)
            self.assertIn(complaint, self.refused(source))
        a.unlink()
        os.mkfifo(a)
        self.assertIn("not a regular file", self.refused(source))

    def test_odd_names(self) -> None:
        """A certificate with names that are not ASCII is refused in words, not with a traceback."""
        pem, key = make_pem(["aaaaaaaa"])

        body = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
        at = body.rindex(b"\x82\x08aaaaaaaa") + 2
        spoilt = base64.encodebytes(body[:at] + b"\xff" * 8 + body[at + 8 :])
        a = self.directory / "a.pem"
        a.write_bytes(b"-----BEGIN CERTIFICATE-----\n" + spoilt + b"-----END CERTIFICATE-----\n" + key)
        self.assertIn("cannot be used", self.refused(Source("a.pem", (a,), a)))

    def test_identity(self) -> None:
        """Files are the same as long as their identity is, through links as well."""
        a, b = self.directory / "a", self.directory / "b"
        a.write_bytes(b"1")
        b.symlink_to("a")
        source = Source("x", (b,), b)
        before = source.identity()
        self.assertEqual(before, source.identity())
        (self.directory / "c").write_bytes(b"1")
        b.unlink()
        b.symlink_to("c")
        self.assertNotEqual(before, source.identity())

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.binary(max_size=200), st.integers(0, 3000), st.integers(0, 30))
    def test_any_octets(self, octets: bytes, at: int, length: int) -> None:
        """Whatever stands in the file, it is a certificate or a BadCertificateError."""
        pem, key = WHOLE
        good = pem + key
        a = self.directory / "any.pem"
        for data in (octets, good[:at] + octets + good[at + length :]):
            a.write_bytes(data)
            try:
                read(Source("any.pem", (a,), a))
            except BadCertificateError as error:
                self.assertEqual(len(str(error).splitlines()), 1)


WHOLE = make_pem(["any"])


class NamesTests(SynchronousTestCase):
    def chosen(self, certificates: list[Certificate], name: bytes | None) -> list[str]:
        return [one.source.name for one in ServerNames(certificates, NOW).choose(name)]

    def test_exact_and_wildcard(self) -> None:
        """An exact name wins over a wildcard, which stands for exactly one label; the case does not matter."""
        some = [
            certificate("a.pem", b"other"),
            certificate("b.pem", b"*.example.org"),
            certificate("c.pem", b"www.example.org"),
        ]
        for name, file in (
            (b"www.example.org", "c.pem"),
            (b"WWW.Example.Org", "c.pem"),
            (b"www.example.org.", "c.pem"),
            (b"blog.example.org", "b.pem"),
            (b"a.b.example.org", "a.pem"),
            (b"example.org", "a.pem"),
            (b"other", "a.pem"),
            (b"org", "a.pem"),
            (b"", "a.pem"),
            (b"\xff\xfe", "a.pem"),
            (None, "a.pem"),
        ):
            self.assertEqual(self.chosen(some, name), [file], name)

    def test_default(self) -> None:
        """The default is what is called so, in whatever form, or else the first by name."""
        some = [certificate("b", b"b"), certificate("a.crt", b"a")]
        self.assertEqual(self.chosen(some, None), ["a.crt"])
        for name in ("default", "default.pem", "default.crt", "default.cert"):
            self.assertEqual(self.chosen([*some, certificate(name)], b"unknown"), [name])

    def test_default_of_two_kinds(self) -> None:
        """The default is served with the key of the other kind as well, if that one has all its names."""
        some = [
            certificate("a.pem", b"a", algorithm="rsa"),
            certificate("b.pem", b"a", b"b", algorithm="ec"),
            certificate("c.pem", b"c", algorithm="ed"),
        ]
        self.assertEqual(self.chosen(some, None), ["a.pem", "b.pem"])
        self.assertEqual(self.chosen(some, b"b"), ["b.pem"])

    def test_expired_default(self) -> None:
        """The default stays the default when it has expired: that is said, and not hidden."""
        some = [certificate("default.pem", b"a", ends=NOW - 1), certificate("a.pem", b"a", algorithm="rsa")]
        self.assertEqual(self.chosen(some, None), ["default.pem"])
        self.assertEqual(self.chosen(some, b"a"), ["a.pem"])

    def test_best(self) -> None:
        """Of several for one name the valid one that ends last answers; an expired one only where no other is."""
        old = certificate("1", b"a", ends=NOW - 1)
        older = certificate("2", b"a", ends=NOW - 2, algorithm="rsa")
        good = certificate("3", b"a", ends=NOW + 1)
        better = certificate("4", b"a", ends=NOW + 2)
        early = certificate("5", b"a", begins=NOW + 1, ends=NOW + 9)
        for some, names in (
            ([old, good, better, early], ["4"]),
            ([early, better, good, old], ["4"]),
            ([old, older], ["1"]),
            ([old, older, good], ["3"]),
            ([better, certificate("6", b"a", algorithm="rsa")], ["4", "6"]),
            ([better, certificate("0", b"a", ends=better.ends)], ["4"]),
        ):
            self.assertEqual([one.source.name for one in best(some, NOW)], names)

    def test_every_choice(self) -> None:
        """All that can be chosen is known beforehand."""
        a, b = certificate("a", b"a", b"x"), certificate("b", b"b", b"x", algorithm="rsa")
        names = ServerNames([a, b], NOW)
        self.assertEqual(names.every_choice(), {(a,), (b,), (a, b)})
