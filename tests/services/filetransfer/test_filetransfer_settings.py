"""The options of filetransfer, and the service that is made of them."""

import os
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import TcpAddress
from netsvc.config.options import options
from netsvc.services.filetransfer import KIND
from netsvc.services.filetransfer.protocol import FileTransferFactory
from netsvc.services.filetransfer.settings import FileTransferSettings
from tests.fakes import FakeRuntime


def made(offer: Path) -> FileTransferSettings:
    """Settings that offer this path."""
    return FileTransferSettings(listen=(TcpAddress(port=0),), offer=offer)


class FileTransferSettingsTests(SynchronousTestCase):
    """FileTransferSettings."""

    def test_options(self) -> None:
        """The offer must be given; the order is newest when it is not."""
        by_key = {one.key: one for one in options(FileTransferSettings)}
        self.assertTrue(by_key["offer"].required)
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
