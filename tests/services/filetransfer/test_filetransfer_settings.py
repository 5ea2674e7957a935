"""The options of filetransfer, and the service that is made of them."""

import os
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import TcpAddress
from netsvc.config.options import options
from netsvc.filestore.access import Access
from netsvc.services.filetransfer import KIND
from netsvc.services.filetransfer.protocol import FileTransferFactory
from netsvc.services.filetransfer.receiver import FileReceiverFactory
from netsvc.services.filetransfer.settings import FileTransferSettings
from tests.fakes import FakeRuntime


def made(offer: Path | None) -> FileTransferSettings:
    """Settings that offer this path."""
    return FileTransferSettings(listen=(TcpAddress(port=0),), offer=offer)


class FileTransferSettingsTests(SynchronousTestCase):
    """FileTransferSettings."""

    def test_options(self) -> None:
        """The order is newest when it is not given."""
        by_key = {one.key: one for one in options(FileTransferSettings)}
        self.assertFalse(by_key["receive"].default)
        self.assertEqual(by_key["order"].default_text, "newest")
        self.assertRaises(attrs.exceptions.FrozenInstanceError, setattr, made(Path("f")), "order", "rotate")

    def test_check(self) -> None:
        """check() names offer when it is missing, no file, unreadable or not printable; else it is silent."""
        directory = Path(self.mktemp())
        directory.mkdir()
        good, odd, fifo = directory / "good", directory / "odd\n", directory / "fifo"
        good.write_bytes(b"")
        odd.write_bytes(b"")
        os.mkfifo(fifo)
        self.assertEqual(list(made(directory).check()), [])
        self.assertEqual(list(made(good).check()), [])
        for path, words in ((directory / "no", "does not exist"), (fifo, "neither a file"), (odd, "not a name")):
            ((key, message),) = made(path).check()
            self.assertEqual(key, "offer")
            self.assertIn(words, message)
        self.patch(os, "access", lambda path, mode: False)
        ((_, message),) = made(good).check()
        self.assertIn("cannot be read", message)

    def test_either_offers_or_receives(self) -> None:
        """check() names what is missing or too much: an offer, or receive with a store that is a directory."""
        directory = Path(self.mktemp())
        directory.mkdir()
        base = FileTransferSettings(listen=(TcpAddress(port=0),))
        for change, key in (
            ({}, "offer"),
            ({"store": directory, "offer": directory}, "store"),
            ({"receive": True}, "receive"),
            ({"receive": True, "store": directory, "offer": directory}, "offer"),
            ({"receive": True, "store": directory / "no"}, "store"),
        ):
            self.assertEqual([one for one, _ in attrs.evolve(base, **change).check()], [key])
        self.assertEqual(list(attrs.evolve(base, receive=True, store=directory).check()), [])

    def test_receiving(self) -> None:
        """A service that receives sweeps its directory when it starts, and replaces nothing unless it is told to."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        left = directory / f".netsvc-{'0' * 32}.part"
        left.write_bytes(b"left by a crash")
        os.utime(left, (1, 1))
        for replace, access in ((False, Access.UPLOAD_ONLY), (True, Access.FULL)):
            runtime = FakeRuntime()
            settings = FileTransferSettings(
                listen=(TcpAddress(port=0),), receive=True, store=directory, replace=replace, max_file_size=5
            )
            service = KIND.load_make_service()(settings, runtime)
            ((_, stream, _),) = runtime.served
            self.assertIsInstance(stream, FileReceiverFactory)
            self.assertEqual(stream.inbox.terms, settings.terms(access))
            self.assertEqual(left.exists(), not replace)
            service.startService()
            self.assertFalse(left.exists())

    def test_kind(self) -> None:
        """The kind names these settings and makes a service with a stream side only."""
        self.assertIs(KIND.load_settings(), FileTransferSettings)
        runtime = FakeRuntime()
        settings = made(Path("f"))
        KIND.load_make_service()(settings, runtime)
        ((served, stream, datagram),) = runtime.served
        self.assertIs(served, settings)
        self.assertIsInstance(stream, FileTransferFactory)
        self.assertIsNone(datagram)
