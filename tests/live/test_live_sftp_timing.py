"""How long refusals take over a real connection: the same, whether there is such a user or not."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from threading import Thread
from time import perf_counter

import bcrypt
from cryptography.hazmat.primitives.asymmetric import ed25519
from twisted.trial.unittest import SynchronousTestCase

from netsvc.services.sftp.ssh.numbers import Message
from netsvc.services.sftp.ssh.octets import string
from tests.live.daemon import Daemon
from tests.live.ssh_stranger import Stranger
from tests.services.sftp.ssh.client import blob_of, line_of, user_key

INI = """\
[netsvc]
state_directory = state

[sftp]
listen = tcp:0:interface=127.0.0.1
users = bob
root = files/%u
authorized_keys = keys/%u
password_file = passwords
login_failures = none
login_tries = 100
"""
AT_ONCE = 6  # connections
TRIES = 20  # on each connection: half of them for a user who is there
# How far from one half the chance may be that a refusal of the one took longer than one of the other: five times the
# standard deviation that it has, for so many tries of each, when they do not differ.
FURTHEST = 5 * ((AT_ONCE * TRIES + 1) / (3 * (AT_ONCE * TRIES) ** 2)) ** 0.5
COST = 11  # of bcrypt: a check takes about as long as refusals are rounded to, and others wait for it
OTHER = ed25519.Ed25519PrivateKey.generate()

Try = Callable[[Stranger, bytes], None]


def chance(some: list[float], others: list[float]) -> float:
    """The chance that one of some is greater than one of the others (Mann and Whitney's U, from 0 to 1)."""
    ordered = sorted(others)
    above = sum(bisect_left(ordered, one) + bisect_right(ordered, one) for one in some) / 2
    return above / len(some) / len(others)


class TimingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon(INI)
        place = self.daemon.directory
        for name in ("files", "keys"):
            (place / name).mkdir(mode=0o700)
        (place / "keys" / "bob").write_text(line_of(user_key()) + "\n")
        (place / "keys" / "bob").chmod(0o600)
        hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(COST)).decode()
        (place / "passwords").write_text(f"bob:{hashed}\n")
        self.daemon.__enter__()
        self.addCleanup(self.daemon.close)

    def measure(self, one_try: Try) -> tuple[list[float], list[float]]:
        """Seconds that refusals took for bob, and for users who are not there."""
        bob: list[float] = []
        nobody: list[float] = []

        def ask(number: int) -> None:
            with Stranger(self.daemon.port("sftp")) as peer:
                peer.exchange()
                peer.ask()
                for turn in range(TRIES):
                    user, took = (b"bob", bob) if (turn + number) % 2 else (b"n%d-%d" % (number, turn), nobody)
                    began = perf_counter()
                    one_try(peer, user)
                    peer.until(Message.USERAUTH_FAILURE)
                    took.append(perf_counter() - began)

        threads = [Thread(target=ask, args=(number,)) for number in range(AT_ONCE)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertEqual(len(bob) + len(nobody), AT_ONCE * TRIES)
        return bob, nobody

    def test_file_abuse_41_timing(self) -> None:
        """By its time no refusal tells who exists: of a key asked about, of a signature, of a password."""
        blob = string(b"ssh-ed25519") + string(blob_of(OTHER))
        ways: dict[str, Try] = {
            "asked": lambda peer, user: peer.by(b"publickey", b"\0" + blob, user),
            "signed": lambda peer, user: peer.by_key(OTHER, user),
            "password": lambda peer, user: peer.by_password(b"guess", user),
        }
        for name, way in ways.items():
            found = chance(*self.measure(way))
            self.assertLess(abs(found - 0.5), FURTHEST, f"{name}: {found:.3f}")
