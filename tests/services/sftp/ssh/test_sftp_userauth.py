"""Userauth: keys and passwords, the tries, and that nothing tells who exists."""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.internet.defer import Deferred

from netsvc.config.values import Rate
from netsvc.net.passwords.users import UserFile
from netsvc.services.sftp.login.authorized_keys import AuthorizedKey
from netsvc.services.sftp.login.key_files import KeyFiles
from netsvc.services.sftp.ssh.numbers import Message
from netsvc.services.sftp.ssh.octets import string
from netsvc.services.sftp.ssh.userauth import STEP
from tests.services.sftp.ssh.client import NOW, PASSWORD, Client, Site, blob_of, line_of, user_key
from tests.services.sftp.ssh.test_sftp_transport import SiteCase

REFUSED = bytes((Message.USERAUTH_FAILURE,)) + string(b"publickey,password") + b"\0"
ACCEPTED = bytes((Message.USERAUTH_SUCCESS,))


class UserauthTests(SiteCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = Client(self.site)
        self.client.exchange()
        self.client.ask()

    def answer(self) -> list[bytes]:
        self.site.clock.advance(STEP)
        return self.client.received()

    def results(self) -> dict[tuple[str, str], float]:
        values = self.site.runtime.metrics.metrics["sftp_logins"].values
        return {(dict(key)["method"], dict(key)["result"]): value for key, value in values.items()}

    def test_methods(self) -> None:
        """The first `none` tells the methods, and is no failed try."""
        self.client.by(b"none")
        self.assertEqual(self.client.received(), [REFUSED])
        self.assertNotIn(("other", "refused"), self.results())

    def test_password(self) -> None:
        """The right password lets in, once more at once; a wrong one not."""
        self.client.by_password(b"wrong")
        self.assertEqual(self.answer(), [REFUSED])
        self.client.by_password()
        self.assertEqual(self.client.received(), [ACCEPTED])
        self.assertEqual(self.client.server.user, "bob")
        self.assertEqual(self.results(), {("password", "refused"): 1, ("password", "accepted"): 1})

    def test_password_without_user(self) -> None:
        """A password of somebody who is not one of the users lets nobody in."""
        self.client.by_password(user=b"stranger")
        self.assertEqual(self.answer(), [REFUSED])

    def test_password_of_somebody_else(self) -> None:
        """A user without a password, for whom another's is checked, is not let in by that one."""
        self.client.by_password(user=b"ann")
        self.assertEqual(self.answer(), [REFUSED])

    def test_password_remembered(self) -> None:
        """A password that was right a moment ago is not computed again; another one is."""
        checked: list[object] = []
        in_thread = self.site.logins._checks._in_thread

        def counting(*what: Any) -> Deferred[Any]:
            checked.append(what)
            return in_thread(*what)

        self.site.logins._checks._in_thread = counting
        for password, checks in ((PASSWORD.encode(), 1), (PASSWORD.encode(), 1), (b"wrong", 2)):
            client = Client(self.site)
            client.exchange()
            client.ask()
            client.by_password(password)
            self.assertEqual(len(checked), checks)

    def test_password_change(self) -> None:
        """A password is not changed."""
        self.client.by(b"password", b"\1" + string(b"old") + string(b"new"))
        self.assertEqual(self.answer(), [REFUSED])

    def test_key(self) -> None:
        """A key that the user has is asked for first, then its signature lets in."""
        self.client.by(b"publickey", b"\0" + string(b"ssh-ed25519") + string(blob_of(user_key())))
        expected = string(b"ssh-ed25519") + string(blob_of(user_key()))
        self.assertEqual(self.client.received(), [bytes((Message.USERAUTH_PK_OK,)) + expected])
        self.client.by_key(user_key())
        self.assertEqual(self.client.received(), [ACCEPTED])

    def test_keys_that_do_not_fit(self) -> None:
        """Another key, another user, a signature of another session, algorithm, or of nothing: nobody comes in."""
        other = ed25519.Ed25519PrivateKey.generate()
        blob = string(blob_of(user_key()))
        tries: list[Any] = [
            lambda: self.client.by_key(other),
            lambda: self.client.by_key(user_key(), b"ann"),
            lambda: self.client.by_key(user_key(), session=b"another"),
            lambda: self.client.by(b"publickey", b"\0" + string(b"ssh-rsa") + blob),
            lambda: self.client.by(b"publickey", b"\0" + string(b"rsa-sha2-256") + blob),
        ]
        for one in tries:
            one()
            self.assertEqual(self.answer(), [REFUSED])
        self.client.by(b"publickey", b"\1" + string(b"ssh-ed25519") + blob + string(b""))
        self.assertEqual(self.client.told, "a malformed message: an empty signature")

    def test_conditions_of_a_key(self) -> None:
        """from= and expiry-time hold at the login."""
        path = self.place / "keys" / "bob"
        for options, lets_in in (
            ('from="192.0.2.0/24"', True),
            ('from="198.51.100.*"', False),
            ('expiry-time="20231114Z"', False),
            ('expiry-time="20231115Z"', True),
            ('command="rm -rf /"', False),
        ):
            path.unlink()
            path.write_text(f"{options} {line_of(user_key())}\n")
            path.chmod(0o600)
            client = Client(self.site)
            client.exchange()
            client.ask()
            client.by_key(user_key())
            self.site.clock.advance(STEP)
            self.assertEqual(client.received(), [ACCEPTED] if lets_in else [REFUSED], options)
        self.assertEqual(NOW, 1_700_000_000)  # 2023-11-14, 22:13:20

    def test_tries(self) -> None:
        """The sixth failed try ends the connection."""
        for _ in range(5):
            self.client.by_password(b"guess")
            self.assertEqual(self.answer(), [REFUSED])
        self.client.by(b"keyboard-interactive", string(b"") * 2)
        self.site.clock.advance(STEP)
        self.assertEqual(self.client.told, "too many failed logins")

    def test_requests_ahead(self) -> None:
        """Requests that are sent ahead are answered in their order; too many of them end the connection."""
        self.client.by_password(b"wrong")
        self.client.by_password(b"wrong again")
        self.client.by_key(user_key())
        self.assertEqual(self.client.received(), [])
        self.site.clock.advance(STEP)
        self.site.clock.advance(STEP)
        self.assertEqual(self.client.received(), [REFUSED, REFUSED, ACCEPTED])
        self.client.by_password()
        self.assertEqual(self.client.received(), [])  # RFC 4252 5.1: ignored
        other = Client(self.site)
        other.exchange()
        other.ask()
        for _ in range(10):
            other.by_password(b"wrong")
        self.assertEqual(other.told, "too many logins at once")

    def test_malformed_ahead(self) -> None:
        """A malformed request that was sent ahead ends the connection when its turn comes."""
        self.client.by_password(b"wrong")
        self.client.send(Message.USERAUTH_REQUEST, b"\0\0")
        self.site.clock.advance(STEP)
        self.assertEqual(self.client.told, "a malformed message")

    def test_other_service(self) -> None:
        """Nothing but ssh-connection can be logged in to, and the login is begun once."""
        self.client.send(Message.USERAUTH_REQUEST, string(b"bob") + string(b"ssh-other") + string(b"none"))
        self.assertEqual(self.client.told, "there is no such service")
        other = Client(self.site)
        other.exchange()
        other.ask()
        other.send(Message.SERVICE_REQUEST, string(b"ssh-userauth"))
        self.assertEqual(other.told, "there is no such service")

    def test_lost_meanwhile(self) -> None:
        """A peer that leaves while its password is checked is not logged in, and leaves nothing behind."""
        waiting: list[tuple[Deferred[Any], Any]] = []

        def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            waiting.append((Deferred(), lambda: function(*arguments)))
            return waiting[-1][0]

        self.site.logins._checks._in_thread = in_thread
        self.client.by_password()
        self.client.lose()
        (later, run), *_ = waiting
        later.callback(run())
        self.assertIsNone(self.client.server.user)
        self.assertEqual(self.site.clock.getDelayedCalls(), [])

    def test_names_in_the_log(self) -> None:
        """A user's name that is no text, or a long one, is refused like any other."""
        for name in (b"\xff\xfe", b"a\nb\x1b[2J", b"x" * 200):
            self.client.by_password(user=name)
            self.assertEqual(self.answer(), [REFUSED])
        self.client.by_password(user=b"x" * 300)
        self.assertEqual(self.client.told, "a user's name of that length")


class GuessingTests(SiteCase):
    def test_file_abuse_41_keys_of_somebody(self) -> None:
        """For nobody's key a user's are looked through, for one name always the same user's; they let nobody in."""
        asked: list[str] = []
        find = KeyFiles.find

        def found(files: KeyFiles, user: str, blob: bytes) -> AuthorizedKey | None:
            asked.append(user)
            return find(files, user, blob)

        self.patch(KeyFiles, "find", found)
        for number in range(3):
            client = Client(self.site)
            client.exchange()
            client.ask()
            for letter in b"abcde":
                client.by_key(user_key(), b"nobody%c" % letter)
                self.site.clock.advance(STEP)
                self.assertEqual(client.received(), [REFUSED])
            self.assertEqual(asked[-5:], asked[:5], number)
        self.assertLessEqual(set(asked), {"bob", "ann"})

    def test_file_abuse_41_time_on_the_way(self) -> None:
        """A refusal leaves a whole number of steps after its request came, however long was worked before a thread."""
        client = Client(self.site)
        client.exchange()
        client.ask()
        hash_of = UserFile.hash_of

        def slowly(users: UserFile, user: str) -> tuple[str, bool]:
            self.site.clock.advance(0.03 if user == "bob" else 0.0)
            return hash_of(users, user)

        self.patch(UserFile, "hash_of", slowly)
        for user in (b"bob", b"nobody"):
            began = self.site.clock.seconds()
            client.by_password(b"guess", user)
            (refusal,) = self.site.clock.getDelayedCalls()[:1]
            self.assertAlmostEqual(refusal.getTime() - began, STEP)
            self.site.clock.advance(STEP)

    def refusal_time(self, user: bytes, took: float, method: str) -> float:
        """Seconds until a refusal, when the search for it took so long."""
        client = Client(self.site)
        client.exchange()
        client.ask()
        waiting: list[tuple[Deferred[Any], Any]] = []

        def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            waiting.append((Deferred(), lambda: function(*arguments)))
            return waiting[-1][0]

        self.site.logins._in_thread = self.site.logins._checks._in_thread = in_thread
        if method == "password":
            client.by_password(b"guess", user)
        else:
            client.by_key(ed25519.Ed25519PrivateKey.generate(), user)
        began = self.site.clock.seconds()
        self.site.clock.advance(took)
        (later, run), *_ = waiting
        later.callback(run())
        while not client.received():
            self.site.clock.advance(0.005)
        return round(self.site.clock.seconds() - began, 2)

    def test_file_abuse_41_timing(self) -> None:
        """A refusal comes at the same point of time, whether the user exists or not, however long the search took."""
        times = {
            self.refusal_time(user, took, method)
            for method in ("password", "publickey")
            for user in (b"bob", b"ann", b"nobody")
            for took in (0.001, 0.02, 0.07)
        }
        self.assertEqual(len(times), 1)

    def test_file_abuse_41_same_work(self) -> None:
        """A password of an unknown user is checked against a hash, as a known one's."""
        checked: list[str] = []

        def in_thread(function: Any, *arguments: Any) -> Deferred[Any]:
            checked.append(arguments[0])
            return self.site.runtime.in_thread(function, *arguments)

        self.site.logins._checks._in_thread = in_thread
        client = Client(self.site)
        client.exchange()
        client.ask()
        for user in (b"bob", b"nobody"):
            client.by_password(b"guess", user)
            self.site.clock.advance(STEP)
        self.assertEqual(len(checked), 2)
        self.assertEqual(checked[0], checked[1])

    def test_file_abuse_41_guessing(self) -> None:
        """A source that fails too often is refused before anything is computed, over all its connections."""
        site = Site(self.place / self.directory(), failures=Rate(7, 60.0))
        for _ in range(3):
            client = Client(site)
            client.exchange()
            client.ask()
            for _ in range(6):
                client.by_password(b"guess")
                site.clock.advance(STEP)
            self.assertEqual(client.told, "too many failed logins")
        client = Client(site)
        client.exchange()
        client.ask()
        client.by_password()
        site.clock.advance(STEP)
        outcomes = client.received()
        self.assertEqual(outcomes, [REFUSED])
        site.clock.advance(30)
        client.by_password()
        self.assertEqual(client.received(), [ACCEPTED])

    def directory(self) -> str:
        (self.place / "another").mkdir()
        return "another"
