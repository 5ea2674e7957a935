"""The second SIGTERM or SIGINT."""

from __future__ import annotations

import os
import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.signals import on_second_signal


class Reactor:
    """Calls at once what a signal handler hands over."""

    def callFromThread(self, function: Any) -> None:
        function()


class SignalTests(SynchronousTestCase):
    """on_second_signal()."""

    def test_first_and_second(self) -> None:
        """The first signal is the reactor's own business, each further one hurries, of whichever kind."""
        seen: list[str] = []
        for number in (signal.SIGTERM, signal.SIGINT):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
            signal.signal(number, lambda *_: seen.append("reactor"))
        on_second_signal(Reactor(), lambda: seen.append("hurry"))
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        self.assertEqual(seen, ["reactor", "hurry", "hurry"])
