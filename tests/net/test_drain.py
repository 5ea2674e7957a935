"""Facts about DrainingFactory."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.drain import Drainable, DrainingFactory


class DrainingFactoryTests(SynchronousTestCase):
    def test_drain(self) -> None:
        """Every open connection is asked to end, even one that leaves the set while it is asked."""
        factory = DrainingFactory()
        asked = []

        class Leaving:
            def drain(self) -> None:
                asked.append(self)
                factory.open.discard(self)

        connections: list[Drainable] = [Leaving(), Leaving()]
        factory.open.update(connections)
        factory.drain()
        self.assertEqual(set(asked), set(connections))
        self.assertEqual(factory.open, set())
