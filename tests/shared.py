"""What the tests of one class share, under pytest and trial alike: trial does not call setUpClass."""

from __future__ import annotations

import atexit

from twisted.trial.unittest import SynchronousTestCase


class SharedCase(SynchronousTestCase):
    """A case whose class sets something up once, before its first test, and takes it down when the process ends."""

    @classmethod
    def set_up_shared(cls) -> None:
        """Set up; called once for each class that has tests."""

    @classmethod
    def tear_down_shared(cls) -> None:
        """Take down; called once, if set_up_shared came to its end."""

    def setUp(self) -> None:
        cls = type(self)
        if "_shared" not in cls.__dict__:
            cls.set_up_shared()
            cls._shared = True
            atexit.register(cls.tear_down_shared)

    _shared = False
