"""Options of the outbound mail client."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.config.secrets import Secret
from netsvc.errors import BadValue
from netsvc.services.smtp_client import KIND
from netsvc.services.smtp_client.routing.places import Smarthost, ToMaildir, ToSmarthosts
from netsvc.services.smtp_client.settings import SmtpClientSettings, queue_path, socket_path
from netsvc.services.smtp_client.terms import Timeouts

HERE = Context(Path("/etc"))


class Together(SynchronousTestCase):
    def keys(self, **values: object) -> list[str]:
        return [key for key, _ in SmtpClientSettings(**values).check()]  # type: ignore[arg-type]

    def test_defaults(self) -> None:
        """The defaults stand together, and mail goes to a Maildir."""
        self.assertEqual(self.keys(), [])
        self.assertEqual(SmtpClientSettings().relay, ToMaildir(Path("mail")))

    def test_credentials(self) -> None:
        """A username needs a password and the other way round."""
        secret = Secret("literal", "x")
        self.assertEqual(self.keys(username="u"), ["username"])
        self.assertEqual(self.keys(password=secret), ["password"])
        self.assertEqual(self.keys(username="u", password=secret), [])
        token = ("/usr/bin/token", "a b")
        self.assertEqual(self.keys(username="u", token_command=token), [])
        self.assertEqual(self.keys(token_command=token), ["token_command"])
        self.assertEqual(self.keys(username="u", password=secret, token_command=token), ["token_command"])

    def test_login_values(self) -> None:
        """A token's command is read as a shell would, without one; mechanisms are known."""
        by_key = {one.key: one.value for one in options(SmtpClientSettings)}
        read = by_key["token_command"].parse("/usr/bin/token 'a b' c", HERE)
        self.assertEqual(read, ("/usr/bin/token", "a b", "c"))
        self.assertEqual(by_key["token_command"].show(read), "/usr/bin/token 'a b' c")
        self.assertEqual(by_key["auth_mechanisms"].parse("plain, SCRAM-SHA-256", HERE), ("PLAIN", "SCRAM-SHA-256"))
        for key, text in (("token_command", "token"), ("token_command", "/x 'y"), ("auth_mechanisms", "PLAN")):
            with self.assertRaises(BadValue, msg=text):
                by_key[key].parse(text, HERE)

    def test_in_clear(self) -> None:
        """A password crosses in clear only when that is said."""
        login = {"username": "u", "password": Secret("literal", "x"), "tls": "none"}
        self.assertEqual(self.keys(**login), ["tls"])
        self.assertEqual(self.keys(**login, auth_without_tls=True), [])

    def test_implicit(self) -> None:
        """smtps: and tls = none contradict each other."""
        relay = ToSmarthosts((Smarthost("x", 465, True),))
        self.assertEqual(self.keys(relay=relay, tls="none"), ["tls"])
        self.assertEqual(self.keys(relay=relay, tls="require"), [])

    def test_rest(self) -> None:
        """Delays are in order, our name is a name, and the socket's path fits."""
        self.assertEqual(self.keys(retry_first=10.0, retry_longest=5.0), ["retry_longest"])
        self.assertEqual(self.keys(helo_name="a b"), ["helo_name"])
        self.assertEqual(self.keys(helo_name="[192.0.2.1]"), [])
        self.assertEqual(self.keys(socket=Path("/" + "x" * 107)), ["socket"])

    def test_queue_in_one_place(self) -> None:
        """The queue is in a directory or in a database."""
        where = Secret("literal", "dbname=x")
        self.assertEqual(self.keys(queue_database=where, queue_directory=Path("/q")), ["queue_directory"])
        self.assertEqual(self.keys(queue_database=where), [])

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
