"""Facts about AUTH and about keeping its secrets."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from base64 import b64decode, b64encode, urlsafe_b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.bearer import OAuthBearer, XOAuth2
from netsvc.services.smtp_client.auth.choice import mechanisms
from netsvc.services.smtp_client.auth.mechanism import AuthError, CramMD5, Login, Mechanism, Plain
from netsvc.services.smtp_client.auth.saslprep import saslprep
from netsvc.services.smtp_client.auth.scram import ScramSha256
from netsvc.services.smtp_client.auth.scrubber import Scrubber
from netsvc.services.smtp_client.auth.token import TokenError, fetch_token, read_token
from tests.services.smtp_client.stage import GREETING, LOGIN, PASSWORD, Stage
from tests.waiting import wait_until

PENCIL = Secret("literal", "pencil")
TOKEN = Secret("token command", "ya29.abcdefghijklmnop")


def b64(text: str) -> str:
    """Text as it crosses the wire."""
    return b64encode(text.encode()).decode()


def said(line: bytes) -> str:
    """What an answer says."""
    return b64decode(line.split()[-1]).decode()


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


class MechanismTests(SynchronousTestCase):
    def test_a_long_plain_waits_for_the_question(self) -> None:
        """A token that makes the command longer than 512 octets is sent after the 334."""
        plain = Plain("anna", Secret("literal", "x" * 400))
        self.assertEqual(plain.begin(), b"AUTH PLAIN\r\n")
        self.assertEqual(plain.respond(""), b64encode(b"\0anna\0" + b"x" * 400) + b"\r\n")
        with self.assertRaises(AuthError):
            plain.respond("")

    def test_plain_cannot_say_nul(self) -> None:
        """NUL parts the fields of PLAIN, so a name cannot hold it; ^A parts those of a bearer token."""
        with self.assertRaises(AuthError):
            Plain("a\0b", Secret("literal", "x"))
        with self.assertRaises(AuthError):
            XOAuth2("a\1auth=Bearer x", TOKEN)

    def test_challenges(self) -> None:
        """A challenge must be base64."""
        for bad in ("a", "****", "é"):
            with self.assertRaises(AuthError):
                Login("a", Secret("literal", "b")).respond(bad)

    def test_cram_md5(self) -> None:
        """The example of RFC 2195 2."""
        cram = CramMD5("tim", Secret("literal", "tanstaaftanstaaf"))
        self.assertEqual(cram.begin(), b"AUTH CRAM-MD5\r\n")
        answer = cram.respond("PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+")
        self.assertEqual(answer, b"dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw\r\n")

    def test_no_md5(self) -> None:
        """A machine without MD5 says so."""
        with mock.patch("hmac.new", side_effect=ValueError), self.assertRaises(AuthError):
            CramMD5("tim", PENCIL).respond("")

    def test_bearer(self) -> None:
        """OAUTHBEARER and XOAUTH2 say name and token at once; a refusal by challenge is answered as each wants."""
        bearer = OAuthBearer("a,b=c@x.example", TOKEN, host="mx.example", port=587)
        self.assertEqual(
            said(bearer.begin()),
            f"n,a=a=2Cb=3Dc@x.example,\1host=mx.example\1port=587\1auth=Bearer {TOKEN.reveal()}\1\1",
        )
        self.assertEqual(bearer.respond(b64('{"status":"401"}')), b"AQ==\r\n")
        other = XOAuth2("anna@x.example", TOKEN)
        self.assertEqual(said(other.begin()), f"user=anna@x.example\1auth=Bearer {TOKEN.reveal()}\1\1")
        self.assertEqual(other.respond(b64('{"status":"401"}')), b"\r\n")


class ScramTests(SynchronousTestCase):
    NONCE = "rOprNGfwEbeRWgbNEkqO"
    FIRST = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"

    def begun(self) -> ScramSha256:
        scram = ScramSha256("user", PENCIL, self.NONCE)
        self.assertEqual(said(scram.begin()), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
        return scram

    def test_the_example(self) -> None:
        """The example of RFC 7677 3, to the server's signature and the empty answer to it."""
        scram = self.begun()
        self.assertEqual(
            said(scram.respond(b64(self.FIRST))),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        )
        with self.assertRaises(AuthError):
            scram.succeeded()
        self.assertEqual(scram.respond(b64("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")), b"\r\n")
        scram.succeeded()

    def test_a_server_that_does_not_know_the_password(self) -> None:
        """A wrong signature, none, or an error ends the exchange."""
        for final in ("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", "v=x", "e=invalid-proof", "", "\udcff"):
            scram = self.begun()
            scram.respond(b64(self.FIRST))
            with self.assertRaises(AuthError):
                scram.respond(b64encode(final.encode("utf-8", "surrogateescape")).decode())
            with self.assertRaises(AuthError):
                scram.succeeded()

    def test_first_messages_that_are_none(self) -> None:
        """Another nonce, ours alone, too few or too many iterations, a mandatory extension, a salt that is none."""
        good = self.FIRST
        for bad in (
            good.replace("r=rO", "r=xx"),
            f"r={self.NONCE},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            good.replace("4096", "4095"),
            good.replace("4096", "200001"),
            good.replace("4096", "999999999"),
            "m=x," + good,
            good.replace("W22Z", "W22"),
            "e=other-error",
            "",
        ):
            with self.assertRaises(AuthError, msg=bad):
                self.begun().respond(b64(bad))

    def test_saslprep(self) -> None:
        """The examples of RFC 4013 3, and names with commas and equals signs."""
        for text, prepared in (
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
            ("a\u00a0b", "a b"),
        ):
            self.assertEqual(saslprep(text), prepared)
        for bad in ("\u0007", "\u0627\u0031", "\u0627a\u0627"):
            with self.assertRaises(ValueError):
                saslprep(bad)
        self.assertEqual(saslprep(""), "")
        self.assertEqual(said(ScramSha256("a,b=c", PENCIL, "x").begin()), "n,,n=a=2Cb=3Dc,r=x")
        with self.assertRaises(AuthError):
            ScramSha256("\7", PENCIL)

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.lists(st.one_of(st.text(max_size=40), st.just(FIRST), st.just(b64(FIRST))), min_size=1, max_size=4))
    def test_any_server(self, challenges: list[str]) -> None:
        """Whatever a server says, only the right signature is believed, and nothing but AuthError is raised."""
        scram = self.begun()
        for challenge in challenges:
            try:
                scram.respond(challenge)
            except AuthError:
                break
        with self.assertRaises(AuthError):
            scram.succeeded()


class ChoiceTests(SynchronousTestCase):
    ALL = frozenset(("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "GSSAPI"))

    def names(self, *, encrypted: bool = True, **changes: object) -> list[str]:
        relay = evolve(LOGIN, **changes)  # type: ignore[arg-type]
        found: list[Mechanism] = list(mechanisms(relay, "anna", PENCIL, self.ALL, encrypted=encrypted))
        return [one.name for one in found]

    def test_order(self) -> None:
        """What proves the server comes first; without TLS what hides the password; a token is for its own two."""
        self.assertEqual(self.names(), ["SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5"])
        self.assertEqual(self.names(encrypted=False), ["SCRAM-SHA-256", "CRAM-MD5", "PLAIN", "LOGIN"])
        self.assertEqual(self.names(token_command=("x",)), ["OAUTHBEARER", "XOAUTH2"])

    def test_told(self) -> None:
        """The settings may name the mechanisms; one that does not go with what is known is left out."""
        self.assertEqual(self.names(mechanisms=("LOGIN", "XOAUTH2", "PLAIN")), ["LOGIN", "PLAIN"])
        self.assertEqual(self.names(mechanisms=("XOAUTH2",), token_command=("x",)), ["XOAUTH2"])


class SessionTests(SynchronousTestCase):
    OFFER = b"250-x\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n"

    def test_a_server_that_only_says_yes(self) -> None:
        """A 235 without the server's proof sends nothing of the mail, and PLAIN is not tried."""
        stage = Stage(LOGIN)
        self.assertIn(b"AUTH SCRAM-SHA-256 ", stage.say(GREETING, self.OFFER))
        self.assertEqual(stage.say(b"235 welcome\r\n"), b"QUIT\r\n")
        self.assertEqual((stage.only.result, stage.only.phase), ("retry", "auth"))
        self.assertEqual(stage.only.text, "SCRAM-SHA-256: the server did not prove that it knows the password")

    def test_a_token(self) -> None:
        """With a token command the token is used and the refusal's words are without it, in any form or part."""
        relay = evolve(LOGIN, password=None, token_command=("x",))
        stage = Stage(relay, token=TOKEN)
        sent = stage.say(GREETING, b"250-x\r\n250 AUTH PLAIN XOAUTH2\r\n")
        self.assertIn(b"AUTH XOAUTH2 ", sent)
        self.assertEqual(stage.say(b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"), b"\r\n")
        self.assertEqual(
            stage.say(
                b"535-5.7.8 bad " + sent.split()[-1][:30] + b"\r\n535 5.7.8 " + TOKEN.reveal().encode() + b"\r\n"
            ),
            b"QUIT\r\n",
        )
        self.assertEqual(stage.only.text, "bad [secret] [secret]")
        stage = Stage(relay)
        stage.say(GREETING, b"250-x\r\n250 AUTH XOAUTH2\r\n")
        self.assertEqual(stage.only.text, "a user name is given and no token")

    def test_cram_md5_in_clear(self) -> None:
        """Without TLS, where the login is allowed, CRAM-MD5 keeps the password off the wire."""
        stage = Stage(LOGIN)
        self.assertTrue(stage.say(GREETING, b"250-x\r\n250 AUTH LOGIN CRAM-MD5\r\n").endswith(b"AUTH CRAM-MD5\r\n"))
        answer = stage.say(b"334 PDFAeD4=\r\n")
        self.assertNotIn(PASSWORD, said(answer))
        self.assertIn(b"MAIL", stage.say(b"235 in\r\n"))


class ScrubberTests(SynchronousTestCase):
    def test_every_form(self) -> None:
        """The secret and what was sent of it go, whole or in part; the rest stays."""
        scrub = Scrubber()
        scrub.add("top secret")
        scrub.add(token := b64("\0anna\0top secret"))
        self.assertEqual(scrub(f"top secret {token} x {token[3:20]} y"), "[secret] [secret] x [secret] y")
        self.assertEqual(scrub("user anna unknown"), "user anna unknown")
        self.assertEqual(scrub("topsecret"), "topsecret")
        scrub.add("pw")
        self.assertEqual(scrub("the pw is top secret"), "the [secret] is [secret]")
        self.assertEqual(Scrubber()("x"), "x")
        empty = Scrubber()
        empty.add("")
        self.assertEqual(empty("x"), "x")

    @settings(derandomize=True, deadline=None)
    @given(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), st.text(), st.text())
    def test_it_never_stays(self, secret: str, before: str, after: str) -> None:
        """No text that holds a secret holds it afterwards, but where the mark itself does."""
        scrub = Scrubber()
        scrub.add(secret)
        self.assertNotIn(secret, scrub(before + secret + after).replace("[secret]", "\n" if secret != "\n" else "x"))


class TokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)

    def script(self, text: str) -> tuple[str, ...]:
        path = self.directory / "token"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return (str(path), "$HOME;exit", "a b")

    def problem(self, command: tuple[str, ...], patience: float = 30.0) -> str:
        with self.assertRaises(TokenError) as caught:
            fetch_token(command, patience=patience)
        return str(caught.exception)

    def test_what_is_printed(self) -> None:
        """The token is what the program prints, without blanks around it; it never shows."""
        token = fetch_token(self.script("echo ya29.a0-b_c~d+e/f=="))
        self.assertEqual(token.secret.reveal(), "ya29.a0-b_c~d+e/f==")
        self.assertNotIn("ya29", repr(token))

    def test_how_long_it_is_good(self) -> None:
        """What a token endpoint answers, or a JWT, says when the token ends; an opaque one does not."""
        payload = urlsafe_b64encode(b'{"exp":1000060,"aud":"x"}').rstrip(b"=")
        for printed, secret, lifetime in (
            (b'{"access_token": "abc", "expires_in": 3599, "token_type": "Bearer"}\n', "abc", 3599.0),
            (b'{"access_token": "abc", "expires_in": "soon"}', "abc", None),
            (b"e30." + payload + b".sig", f"e30.{payload.decode()}.sig", 60.0),
            (b"a.b.c", "a.b.c", None),
            (b"a.e30.c", "a.e30.c", None),
        ):
            token = read_token(printed, 1_000_000.0)
            self.assertEqual((token.secret.reveal(), token.lifetime), (secret, lifetime))
        for printed in (b'{"error": "invalid_grant"}', b"{", b'{"access_token": ["x"]}', b"[" * 5000, b'{"a":' * 3000):
            with self.assertRaises(TokenError):
                read_token(printed, 0.0)

    @given(printed=st.binary(max_size=60) | st.text('{}[]":.,e1', max_size=60).map(str.encode))
    def test_any_print(self, printed: bytes) -> None:
        """Whatever is printed, it is a token or none."""
        with contextlib.suppress(TokenError):
            self.assertTrue(read_token(printed, 0.0).secret.reveal())

    def test_no_shell_and_a_clean_environment(self) -> None:
        """Arguments go as they are; what systemd meant for the daemon is not in the environment."""
        token = fetch_token(
            self.script('[ "$1" = "\\$HOME;exit" ] && [ "$2" = "a b" ] && echo "$PLACE${NOTIFY_SOCKET}${LISTEN_FDS}."'),
            environ={**os.environ, "PLACE": "here", "NOTIFY_SOCKET": "/x", "LISTEN_FDS": "3"},
        )
        self.assertEqual(token.secret.reveal(), "here.")

    def test_failures(self) -> None:
        """A program that is missing, fails, or prints no token; nothing that it says is told."""
        self.assertIn("cannot be run: No such file", self.problem((str(self.directory / "none"),)))
        self.assertIn("NUL", self.problem(("a\0b",)))
        self.assertIn("ended with status 3", self.problem(self.script("echo geheim; exit 3")))
        for text in ("true", "echo geheim zwei", "printf 'a\\001b'", "head -c 20000 /dev/zero | tr '\\0' a", "echo ü"):
            self.assertEqual(self.problem(self.script(text)), "the token command printed no token")

    def test_too_long(self) -> None:
        """After its time the program is killed, and so is what it started; also when it only keeps its output open."""
        for text in ("sleep 600 & echo $! >%s; wait", "sleep 600 & echo $! >%s; echo token"):
            kept = self.directory / "pid"
            self.assertIn("longer than 0.5 seconds", self.problem(self.script(text % kept), 0.5))
            pid = int(kept.read_text())
            wait_until(lambda pid=pid: gone(pid))  # type: ignore[misc]

    def test_it_needs_no_shell_to_be_python(self) -> None:
        """Any program will do."""
        self.assertEqual(fetch_token((sys.executable, "-c", "print('abc')")).secret.reveal(), "abc")
