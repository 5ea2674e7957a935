"""Facts about AUTH and about keeping its secrets."""

from __future__ import annotations

from base64 import b64encode

from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth import AuthError, Login, Plain, Scrubber


class MechanismTests(SynchronousTestCase):
    def test_a_long_plain_waits_for_the_question(self) -> None:
        """A token that makes the command longer than 512 octets is sent after the 334."""
        password = Secret("literal", "x" * 400)
        plain = Plain("anna", password)
        self.assertEqual(plain.begin(), b"AUTH PLAIN\r\n")
        self.assertEqual(plain.respond(""), b64encode(b"\0anna\0" + b"x" * 400) + b"\r\n")
        with self.assertRaises(AuthError):
            plain.respond("")

    def test_plain_cannot_say_nul(self) -> None:
        """NUL parts the fields of PLAIN, so a name cannot hold it."""
        with self.assertRaises(AuthError):
            Plain("a\0b", Secret("literal", "x"))

    def test_challenges(self) -> None:
        """A challenge must be base64."""
        for bad in ("a", "****", "é"):
            with self.assertRaises(AuthError):
                Login("a", Secret("literal", "b")).respond(bad)


class ScrubberTests(SynchronousTestCase):
    def test_every_form(self) -> None:
        """The password, its base64 and the PLAIN token go; the longest form first."""
        scrub = Scrubber("anna", Secret("literal", "top secret"))
        forms = ["top secret", b64encode(b"top secret").decode(), b64encode(b"\0anna\0top secret").decode()]
        self.assertEqual(scrub(" ".join(forms)), "[secret] [secret] [secret]")
        self.assertEqual(Scrubber(None, None)("x"), "x")
        self.assertEqual(Scrubber("a", Secret("literal", ""))("x"), "x")
