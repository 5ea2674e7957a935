"""The options of the warm interpreter."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.http.cgi.warm.settings import WarmSettings


class WarmSettingsTest(SynchronousTestCase):
    """Scripts run warm where it makes no difference, unless the settings say otherwise."""

    def test_warm_defaults(self) -> None:
        """Few interpreters, for ten minutes."""
        settings = WarmSettings()
        self.assertEqual(("auto", 8, 600.0), (settings.cgi_warm, settings.cgi_warm_servers, settings.cgi_warm_idle))
