"""How options are declared, the options of every server and of the daemon, and secrets."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config import values
from netsvc.config.daemon import HIGHEST_ID, DaemonSettings, default_state_directory, group_name, user_name
from netsvc.config.options import Context, option, options
from netsvc.config.secrets import MAX_SECRET, Secret, secret
from netsvc.config.server import ServerSettings
from netsvc.errors import BadValue


@frozen(kw_only=True)
class ParrotSettings(ServerSettings):
    """A server's settings with an option of its own."""

    pause: float = option(values.duration(0, 60), default=1.5, help="Wait.")
    file: Path | None = option(values.path(), default=None, help="A file.")


class DeclarationTests(SynchronousTestCase):
    def test_order(self) -> None:
        """A kind's own options come first, inherited ones after, each in order of declaration."""
        keys = [one.key for one in options(ParrotSettings)]
        self.assertEqual(keys[:3], ["pause", "file", "listen"])
        self.assertEqual(keys[2:], [one.key for one in options(ServerSettings)])

    def test_defaults(self) -> None:
        """A default is shown as it would stand in a file; required options and unset paths show nothing."""
        shown = {one.key: one.default_text for one in options(ParrotSettings)}
        expected = {"pause": "1500ms", "file": "", "listen": "", "rate": "none", "allow": "", "datagram_rate": "100/s"}
        self.assertEqual({key: shown[key] for key in expected}, expected)
        self.assertEqual([one.key for one in options(ParrotSettings) if one.required], ["listen"])

    def test_every_default_is_accepted(self) -> None:
        """Every default of the daemon and of servers, as it is shown, is read as itself."""
        context = Context(Path("/"))
        for settings in (ServerSettings, DaemonSettings):
            for one in options(settings):
                self.assertTrue(one.help.endswith("."), one.key)
                if one.default_text:
                    self.assertEqual(one.value.parse(one.default_text, context), one.default, one.key)

    def test_mutable_default(self) -> None:
        """A default that could change, or is made later, is refused: settings are compared with ==."""
        mutables: tuple[Any, ...] = ([], {}, set(), bytearray(), attrs.Factory(list))
        for mutable in mutables:
            self.assertRaises(TypeError, option, values.text(), default=mutable, help="x.")

    def test_undeclared_field(self) -> None:
        """A field that is not an option is named."""

        @frozen
        class Wrong:
            size: int = field(default=1)

        self.assertIn("Wrong.size", str(self.assertRaises(TypeError, options, Wrong)))

    def test_context(self) -> None:
        """A context neither shows the environment nor compares it."""
        one = Context(Path("/"), {"PASSWORD": "hunter2"})
        self.assertEqual(one, Context(Path("/")))
        self.assertNotIn("hunter2", repr(one))


class DaemonTests(SynchronousTestCase):
    def test_include(self) -> None:
        """Globs stand one a line, spaces included."""
        (include, *_) = options(DaemonSettings)
        self.assertEqual(include.value.parse("a b/*.ini\nc", Context(Path("/"))), ("a b/*.ini", "c"))
        self.assertEqual(include.value.parse("", Context(Path("/"))), ())
        self.assertEqual(include.value.show(("a", "b")), "a\nb")

    def test_names(self) -> None:
        """Users and groups are known to this machine, by name or number."""
        for kind in (user_name(), group_name()):
            for text in ("root", "0"):
                self.assertEqual(kind.parse(text, Context(Path("/"))), text)
            for text in ("", "no-such-name-here", "a\0b", str(HIGHEST_ID), str(HIGHEST_ID + 1), "9" * 5000, "٣"):
                self.assertRaises(BadValue, kind.parse, text, Context(Path("/")))
        bad = self.assertRaises(BadValue, user_name().parse, "roto", Context(Path("/")))
        self.assertEqual(bad.suggestion, "root")

    def test_state_directory(self) -> None:
        """What systemd grants wins over XDG's, XDG's over the home directory; relative ones count for nothing."""
        for environ, expected in (
            ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/var/lib/a"),
            ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/netsvc"),
            ({"STATE_DIRECTORY": "a", "XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/netsvc"),
            ({"STATE_DIRECTORY": "", "HOME": "h"}, None),
            ({}, None),
        ):
            self.assertEqual(default_state_directory(environ), expected and Path(expected))


class SecretTests(SynchronousTestCase):
    def setUp(self) -> None:
        made = tempfile.TemporaryDirectory()
        self.addCleanup(made.cleanup)
        self.directory = Path(made.name)
        self.context = Context(self.directory, {"PASSWORD": "hunter2", "EMPTY": "", "CREDENTIALS_DIRECTORY": made.name})
        (self.directory / "word").write_bytes(b"hunter2\r\n")

    def read(self, text: str) -> Secret:
        found = secret().parse(text, self.context)
        assert found is not None
        return found

    def test_references(self) -> None:
        """A secret comes from a file, the environment, a credential, or, for tests, the text itself."""
        for text, reference in (
            ("file:word", "file:word"),
            (f"file:{self.directory}/word", f"file:{self.directory}/word"),
            ("env:PASSWORD", "env:PASSWORD"),
            ("credential:word", "credential:word"),
            ("literal:hunter2", "literal"),
        ):
            found = self.read(text)
            self.assertEqual((found.reveal(), found.reference, secret().show(found)), ("hunter2", reference, reference))
        self.assertEqual(secret().show(None), "")

    def test_never_shown(self) -> None:
        """Neither repr, str, format nor the repr of settings that hold it shows a secret; == still compares it."""
        one = self.read("literal:hunter2")
        for shown in (repr(one), str(one), f"{one}", f"{[one]!r}"):
            self.assertNotIn("hunter2", shown)
        self.assertNotEqual(one, self.read("literal:other"))
        self.assertEqual(one, self.read("literal:hunter2"))

    def test_refused(self) -> None:
        """What cannot be read is refused; no message repeats what may itself be the secret."""
        (self.directory / "empty").write_bytes(b"\n")
        (self.directory / "binary").write_bytes(b"\xff")
        (self.directory / "large").write_bytes(b"x" * (MAX_SECRET + 1))
        os.mkfifo(self.directory / "fifo")
        for text in ("hunter2", "literl:hunter2", "hunter2:", ":hunter2", "literal:", "", "literal:hunter2\0"):
            bad = self.assertRaises(BadValue, self.read, text)
            self.assertNotIn("hunter2", str(bad))
        for text in (
            "file:none", "file:empty", "file:binary", "file:large", "file:fifo", "file:.", "file:a\0b",
            "file:~nobody-has-this-name/x", "env:NONE", "env:EMPTY", "credential:none",
            "credential:../word", "credential:..",
        ):  # fmt: skip
            self.assertRaises(BadValue, self.read, text)

    def test_no_credentials(self) -> None:
        """Without systemd's directory there is no credential."""
        bad = self.assertRaises(BadValue, secret().parse, "credential:word", Context(self.directory, {}))
        self.assertIn("CREDENTIALS_DIRECTORY", str(bad))
