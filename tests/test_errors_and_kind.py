"""Places and faults, and what a kind of service says of itself."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from netsvc.config.daemon import DaemonSettings
from netsvc.errors import BadValue, ConfigError, Fault, Origin, RegistryError, printable
from netsvc.interfaces import IServiceKind
from netsvc.kind import ServiceKind


class ErrorTests(SynchronousTestCase):
    def test_format(self) -> None:
        """A fault is one line, as compilers write theirs; a fault of a whole file has no line and column."""
        fault = Fault(
            Origin("a.ini", 14, 1), "unknown-key", "'max_conections' is not a key of [echo]", "max_connections"
        )
        expected = (
            "a.ini:14:1: error[unknown-key]: 'max_conections' is not a key of [echo]; did you mean 'max_connections'?"
        )
        self.assertEqual(str(fault), expected)
        self.assertEqual(str(Fault(Origin("a.ini"), "unreadable", "gone")), "a.ini: error[unreadable]: gone")

    def test_sorted(self) -> None:
        """Faults are sorted by file, line and column as numbers; the same one twice is one."""
        faults = [Fault(Origin(path, line, 1), "c", "m") for path, line in (("b", 1), ("a", 10), ("a", 9), ("a", 9))]
        faults.append(Fault(Origin("a", 9, 1), "c", "m", "hint"))
        error = ConfigError(faults)
        self.assertEqual(
            [(one.origin.path, one.origin.line) for one in error.faults], [("a", 9), ("a", 9), ("a", 10), ("b", 1)]
        )
        self.assertEqual(len(str(error).splitlines()), 4)

    def test_printable(self) -> None:
        """Nothing in a fault moves a cursor, breaks its line or reverses its text; letters of any script stay."""
        self.assertEqual(printable("a\x1b[2J\n\u202e\udcff é汇"), r"a\x1b[2J\n\u202e\udcff é汇")
        self.assertTrue(str(Fault(Origin("a\nb", 1, 1), "c", "\x07", "\x1b")).isprintable())

    def test_bad_value(self) -> None:
        """A bad value has its message as text."""
        self.assertEqual(str(BadValue("no", at=3)), "no")

    def test_registry_error_is_a_config_error(self) -> None:
        """Whoever reports a bad configuration reports broken packages the same way."""
        self.assertTrue(issubclass(RegistryError, ConfigError))


class KindTests(SynchronousTestCase):
    def test_lazy_names(self) -> None:
        """A kind imports its parts when they are asked for."""
        kind = ServiceKind(
            word="parrot",
            summary="Repeats.",
            settings="netsvc.config.daemon:DaemonSettings",
            make_service="netsvc.config.load:load",
        )
        verifyObject(IServiceKind, kind)
        self.assertIs(kind.load_settings(), DaemonSettings)
        self.assertEqual(kind.load_make_service().__name__, "load")
        self.assertEqual((kind.source, kind.runs), ("", "every-worker"))

    def test_missing_parts(self) -> None:
        """A part that is not there is an error when it is asked for."""
        kind = ServiceKind(word="parrot", summary="", settings="netsvc.nothing:X", make_service="netsvc.errors:nothing")
        self.assertRaises(ModuleNotFoundError, kind.load_settings)
        self.assertRaises(AttributeError, kind.load_make_service)

    def test_refused(self) -> None:
        """A word is lower_snake_case, a name is 'package.module:name', a kind runs in every worker or once."""
        good = {"word": "parrot", "summary": "", "settings": "a.b:C", "make_service": "a.b:c"}
        ServiceKind(**good)
        for key, wrong in (
            ("word", "Parrot"), ("word", "par-rot"), ("word", "1"), ("word", ""), ("word", "a\n"), ("word", None),
            ("settings", "a.b.C"), ("settings", "a..b:C"), ("settings", "a:"), ("settings", "é:C"), ("settings", None),
            ("make_service", ".a:c"), ("runs", "twice"),
        ):  # fmt: skip
            self.assertRaises(ValueError, ServiceKind, **{**good, key: wrong})
