"""The service as a whole: made without a trace, started, stopped."""

from __future__ import annotations

import os
import select
import tempfile
import time
from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context
from netsvc.config.secrets import Secret
from netsvc.errors import StartError
from netsvc.services.sms.delivery import zone
from netsvc.services.sms.service import Sms, make_service
from netsvc.services.sms.settings import SmsSettings
from tests.fakes import FakeRuntime

SETTINGS = SmsSettings(
    preset="ihuyi", account="me", password=Secret("literal", "geheim"), country_code="86", socket_mode=0o600
)
PATIENCE = 180.0  # seconds until a store that does not close fails the test


class Making(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory(prefix="netsvc-sms-")
        self.addCleanup(directory.cleanup)
        self.state = Path(directory.name)
        self.runtime: Any = FakeRuntime(self.state, "sms")
        self.calls: list[Any] = []
        self.runtime.reactor.callFromThread = lambda *call: self.calls.append(call)

    def test_socket(self) -> None:
        """It listens on its socket only, with its mode, and makes no file before it starts."""
        made = make_service(SETTINGS, self.runtime)
        self.assertIsInstance(made, Sms)
        ((settings, _, datagram),) = self.runtime.served
        self.assertEqual([(one.path, one.mode) for one in settings.listen], [(self.state / "sms.sock", 0o600)])
        self.assertIsNone(datagram)
        self.assertEqual(os.listdir(self.state), [])

    def test_long_path(self) -> None:
        """A socket whose path is too long ends the start, with a way out."""
        self.runtime.state_directory = self.state / ("x" * 100)
        with self.assertRaisesRegex(StartError, "longer than 107 octets; set socket"):
            make_service(SETTINGS, self.runtime)

    def test_check(self) -> None:
        """The settings of this test have no fault; one socket path can be too long there already."""
        self.assertEqual(list(SETTINGS.check()), [])
        ((key, _),) = attrs.evolve(SETTINGS, socket=Path("/" + "x" * 107)).check()
        self.assertEqual(key, "socket")

    def test_start_and_stop(self) -> None:
        """It opens its queue, keeps others out of it, and closes it."""
        made: Any = make_service(SETTINGS, self.runtime)
        made.startService()
        self.assertTrue((self.state / "outbox" / "sms").is_dir())
        second: Any = make_service(SETTINGS, self.runtime)
        self.assertRaises(StartError, second.startService)
        done: list[Any] = []
        made.stopService().addBoth(done.append)
        end = time.monotonic() + PATIENCE
        while not done:
            self.assertLess(time.monotonic(), end)
            while self.calls:
                function, *arguments = self.calls.pop(0)
                function(*arguments)
            select.select([], [], [], 0.001)  # let the store's thread go on
        self.assertEqual(done, [None])

    def test_zones(self) -> None:
        """Every time zone that the configuration takes is one."""
        context = Context(Path("/"))
        value = next(one for one in attrs.fields(SmsSettings) if one.name == "timezone").metadata["netsvc"][0]
        for name in ("UTC", "local", "Asia/Shanghai"):
            zone(value.parse(name, context))
        self.assertIsNone(zone("local"))
