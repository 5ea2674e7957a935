"""Options of the outbound mail client."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.config.secrets import Secret
from netsvc.errors import BadValue
from netsvc.services.smtp_client import KIND
from netsvc.services.smtp_client.settings import (
    MaildirRelay,
    SmtpClientSettings,
    SmtpRelay,
    queue_path,
    relay,
    socket_path,
)
from netsvc.services.smtp_client.terms import Timeouts

HERE = Context(Path("/etc"))


class Relays(SynchronousTestCase):
    def test_good(self) -> None:
        """Maildirs and smarthosts are read, with their usual ports, and shown as they are read."""
        for text, value in (
            ("maildir:mail", MaildirRelay(Path("mail"))),
            ("maildir:/var/mail/x:y", MaildirRelay(Path("/var/mail/x:y"))),
            ("smtp:mail.example.com:587", SmtpRelay("mail.example.com", 587)),
            ("smtp:localhost", SmtpRelay("localhost", 25)),
            ("smtps:mail.example.com", SmtpRelay("mail.example.com", 465, implicit=True)),
            ("smtp:[2001:db8::1]:25", SmtpRelay("2001:db8::1", 25)),
            ("smtp:192.0.2.1:2525", SmtpRelay("192.0.2.1", 2525)),
            ("smtp:例子.公司", SmtpRelay("xn--fsqu00a.xn--55qx5d", 25)),
        ):
            self.assertEqual(relay().parse(text, HERE), value)
            self.assertEqual(relay().parse(relay().show(value), HERE), value)

    def test_bad(self) -> None:
        """What is no relay is an error at its place."""
        for text, at in (
            ("mail.example.com", 0),
            ("smtp", 0),
            ("maildir:", 8),
            ("maildir:a\0b", 8),
            ("smtp:", 5),
            ("smtp:2001:db8::1", 5),
            ("smtp:x:0", 7),
            ("smtp:x:65536", 7),
            ("smtp:a b", 5),
            ("smtp:-x", 5),
            ("smtp:" + "x" * 64, 5),
            ("smtps:" + "é" * 300, 6),
        ):
            with self.assertRaises(BadValue, msg=text) as caught:
                relay().parse(text, HERE)
            self.assertEqual(caught.exception.at, at, text)

    def test_suggestion(self) -> None:
        """A mistyped scheme has a suggestion."""
        with self.assertRaises(BadValue) as caught:
            relay().parse("stmp:x:25", HERE)
        self.assertEqual(caught.exception.suggestion, "smtp:x:25")


class Together(SynchronousTestCase):
    def keys(self, **values: object) -> list[str]:
        return [key for key, _ in SmtpClientSettings(**values).check()]  # type: ignore[arg-type]

    def test_defaults(self) -> None:
        """The defaults stand together, and mail goes to a Maildir."""
        self.assertEqual(self.keys(), [])
        self.assertEqual(SmtpClientSettings().relay, MaildirRelay(Path("mail")))

    def test_credentials(self) -> None:
        """A username needs a password and the other way round."""
        secret = Secret("literal", "x")
        self.assertEqual(self.keys(username="u"), ["username"])
        self.assertEqual(self.keys(password=secret), ["password"])
        self.assertEqual(self.keys(username="u", password=secret), [])

    def test_in_clear(self) -> None:
        """A password crosses in clear only when that is said."""
        login = {"username": "u", "password": Secret("literal", "x"), "tls": "none"}
        self.assertEqual(self.keys(**login), ["tls"])
        self.assertEqual(self.keys(**login, auth_without_tls=True), [])

    def test_implicit(self) -> None:
        """smtps: and tls = none contradict each other."""
        self.assertEqual(self.keys(relay=SmtpRelay("x", 465, True), tls="none"), ["tls"])
        self.assertEqual(self.keys(relay=SmtpRelay("x", 465, True), tls="require"), [])

    def test_rest(self) -> None:
        """Delays are in order, our name is a name, and the socket's path fits."""
        self.assertEqual(self.keys(retry_first=10.0, retry_longest=5.0), ["retry_longest"])
        self.assertEqual(self.keys(helo_name="a b"), ["helo_name"])
        self.assertEqual(self.keys(helo_name="[192.0.2.1]"), [])
        self.assertEqual(self.keys(socket=Path("/" + "x" * 107)), ["socket"])

    def test_phase_timeout(self) -> None:
        """It shortens limits and lengthens none; the default leaves those of RFC 5321 as they are."""
        self.assertEqual(Timeouts.within(SmtpClientSettings().phase_timeout), Timeouts())
        short = Timeouts.within(60.0)
        self.assertEqual((short.connect, short.greeting, short.termination, short.quit), (30.0, 60.0, 60.0, 5.0))


class Places(SynchronousTestCase):
    def test_default(self) -> None:
        """The socket and the queue are in the state directory, apart for each section."""
        state, settings = Path("/state"), SmtpClientSettings()
        self.assertEqual(socket_path(settings, state, "smtp_client"), Path("/state/mail.sock"))
        self.assertEqual(socket_path(settings, state, "smtp_client:a"), Path("/state/mail-a.sock"))
        self.assertEqual(queue_path(settings, state, "smtp_client:a"), Path("/state/outbox/smtp_client-a"))

    def test_given(self) -> None:
        """Options move them."""
        settings = SmtpClientSettings(socket=Path("/s"), queue_directory=Path("/q"))
        self.assertEqual(socket_path(settings, Path("/state"), "smtp_client"), Path("/s"))
        self.assertEqual(queue_path(settings, Path("/state"), "smtp_client"), Path("/q"))

    def test_kind(self) -> None:
        """The kind runs once, and its options are all declared."""
        self.assertEqual((KIND.word, KIND.runs), ("smtp_client", "once"))
        self.assertIs(KIND.load_settings(), SmtpClientSettings)
        self.assertTrue(callable(KIND.load_make_service()))
        for one in options(SmtpClientSettings):
            if one.default_text:
                self.assertEqual(one.value.parse(one.default_text, HERE), one.default, one.key)
