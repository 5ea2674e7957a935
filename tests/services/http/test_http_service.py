"""From settings to a service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.application.service import IService
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.errors import BadValue, StartError
from netsvc.services.http import KIND
from netsvc.services.http.factory import HttpFactory
from netsvc.services.http.service import HttpService
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.site.sites import policy_of
from tests.fakes import FakeRuntime

CONTEXT = Context(Path("/etc"))


class ServiceTests(SynchronousTestCase):
    def make(self, **changes: Any) -> tuple[HttpService, FakeRuntime]:
        root = Path(self.mktemp())
        root.mkdir()
        runtime = FakeRuntime(Path(self.mktemp()))
        settings = HttpSettings(**{"listen": (), "docroot": root, **changes})
        service = KIND.load_make_service()(settings, runtime)
        self.assertTrue(IService.providedBy(service))
        assert isinstance(service, HttpService)
        return service, runtime

    def test_make(self) -> None:
        """The kind makes a service that serves a factory, and stops."""
        self.assertIs(KIND.load_settings(), HttpSettings)
        service, runtime = self.make()
        ((_, factory, datagram),) = runtime.served
        self.assertIsInstance(factory, HttpFactory)
        self.assertIsNone(datagram)
        service.privilegedStartService()
        service.startService()
        self.successResultOf(service.stopService())

    def test_alpn(self) -> None:
        """Peers that ask by ALPN are told what is spoken: without that, Twisted ends their handshake."""
        _, runtime = self.make()
        factory = runtime.served[0][1]
        self.assertTrue(IProtocolNegotiationFactory.providedBy(factory))
        self.assertEqual(factory.acceptableProtocols(), [b"h2", b"http/1.1"])

    def test_without_cgi(self) -> None:
        """Without CGI directories there is no engine."""
        service, _ = self.make(cgi_directories=())
        service.startService()
        self.successResultOf(service.stopService())

    def test_docroot_missing(self) -> None:
        """A docroot that is no directory ends the start with one clear line."""
        service, _ = self.make(docroot=Path("/nonexistent/www"))
        with self.assertRaisesRegex(StartError, "the docroot /nonexistent/www is not a directory"):
            service.privilegedStartService()

    def test_policy(self) -> None:
        """The policy is what the settings say."""
        policy = policy_of(HttpSettings(listen=(), docroot=Path("/"), follow_symlinks="no", dotfiles=True))
        self.assertEqual((policy.follow, policy.dotfiles), ("no", True))
        self.assertEqual(policy.cgi, {b"cgi-bin", b"htbin"})
        self.assertEqual(policy.index, (b"index.html", b"index.htm"))


class SettingsTests(SynchronousTestCase):
    def test_options(self) -> None:
        """Every option has help and a default that its own parser takes back, but listen and docroot."""
        for one in options(HttpSettings):
            self.assertTrue(one.help.endswith("."), one.key)
            if one.required:
                self.assertIn(one.key, ("listen", "docroot"))
            elif one.default not in (None, ()):
                self.assertEqual(one.value.parse(one.default_text, CONTEXT), one.default, one.key)

    def test_values(self) -> None:
        """Index names are names; Server is visible ASCII or none."""
        by_key = {one.key: one.value for one in options(HttpSettings)}
        self.assertEqual(by_key["index"].parse("a.html, b", CONTEXT), ("a.html", "b"))
        for text in ("a/b", "..", "."):
            with self.assertRaises(BadValue):
                by_key["index"].parse(text, CONTEXT)
        self.assertEqual(by_key["server"].parse("none", CONTEXT), "")
        self.assertEqual(by_key["server"].show(""), "none")
        for text in ("", "é", "a\nb", "a" * 129):
            with self.assertRaises(BadValue):
                by_key["server"].parse(text, CONTEXT)
