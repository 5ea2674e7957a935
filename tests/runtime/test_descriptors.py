"""The limit of descriptors."""

from __future__ import annotations

import resource
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.runtime.descriptors import ENOUGH, raise_descriptor_limit


class DescriptorTests(SynchronousTestCase):
    """raise_descriptor_limit."""

    def raised(self, soft: int, hard: int, error: Exception | None = None) -> list[Any]:
        """The limits that are set when these are in force."""
        limits: list[Any] = []

        def set_limit(which: int, wanted: Any) -> None:
            self.assertEqual(which, resource.RLIMIT_NOFILE)
            limits.append(wanted)
            if error is not None:
                raise error

        self.patch(resource, "getrlimit", lambda _: (soft, hard))
        self.patch(resource, "setrlimit", set_limit)
        raise_descriptor_limit()
        return limits

    def test_raised(self) -> None:
        """The soft limit becomes the hard one, but never more than anybody needs."""
        self.assertEqual(self.raised(1024, 4096), [(4096, 4096)])
        self.assertEqual(self.raised(1024, 1 << 30), [(ENOUGH, 1 << 30)])
        self.assertEqual(self.raised(1024, resource.RLIM_INFINITY), [(ENOUGH, resource.RLIM_INFINITY)])

    def test_enough(self) -> None:
        """A limit that is high enough stays."""
        self.assertEqual(self.raised(4096, 4096), [])
        self.assertEqual(self.raised(resource.RLIM_INFINITY, resource.RLIM_INFINITY), [])

    def test_not_allowed(self) -> None:
        """Where the system says no the daemon runs with what it has."""
        self.assertEqual(self.raised(1024, 4096, PermissionError()), [(4096, 4096)])
