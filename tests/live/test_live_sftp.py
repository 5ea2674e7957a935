"""The kind sftp in a real twistd: OpenSSH's sftp, scp and ssh, ssh-audit, and peers that do not keep to the rules."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from netsvc.net.passwords import htpasswd
from tests.live import large_rsa, parts
from tests.live.daemon import Daemon
from tests.waiting import wait_until

PASSWORD = "correct horse"
BOUND = 180.0  # seconds for one client

INI = """\
[netsvc]
state_directory = state

[sftp]
listen = tcp:0:interface=127.0.0.1
users =
    bob
    ann read-only files/bob
    eve upload-only
root = files/%u
authorized_keys = keys/%u
password_file = passwords
login_failures = none

[sftp:hasty]
listen = tcp:0:interface=127.0.0.1
users = bob
root = files/%u
authorized_keys = keys/%u
login_timeout = 2s

[sftp:rated]
listen = tcp:0:interface=127.0.0.1
users = bob
root = files/%u
authorized_keys = keys/%u
rate = 10/1s

[sftp:crowded]
listen = tcp:0:interface=127.0.0.1
users = bob
root = files/%u
authorized_keys = keys/%u
max_logins = 4
"""


class SftpCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.daemon = Daemon(INI)
        self.place = self.daemon.directory
        (self.place / "files").mkdir()
        (self.place / "files" / "bob").mkdir()
        (self.place / "keys").mkdir(mode=0o700)
        (self.place / "passwords").write_text(f"bob:{htpasswd.make(PASSWORD, 'argon2')}\n")
        self.make_key("id", "-t", "ed25519")
        self.trust("bob", "id")
        self.trust("ann", "id")
        self.trust("eve", "id")
        self.daemon.__enter__()
        self.addCleanup(self.daemon.close)
        self.files = self.place / "files" / "bob"

    def make_key(self, name: str, *kind: str) -> None:
        """A new key of a user."""
        subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", self.place / name, *kind], check=True)

    def trust(self, user: str, name: str, options: str = "") -> None:
        """Let a key in."""
        path = self.place / "keys" / user
        before = path.read_text() if path.exists() else ""
        fresh = self.place / "fresh"
        fresh.write_text(f"{before}{options}{(self.place / f'{name}.pub').read_text()}")
        fresh.chmod(0o600)
        fresh.rename(path)

    def options(self, *more: str, key: str = "id", section: str = "sftp") -> list[str]:
        """Those of every client of OpenSSH."""
        settings = (
            f"Port={self.daemon.port(section)}",
            "StrictHostKeyChecking=accept-new",
            f"UserKnownHostsFile={self.place / 'known'}",
            "IdentitiesOnly=yes",
            f"IdentityFile={self.place / key}",
            "ConnectTimeout=120",
            *more,
        )
        return ["-F", "none", *(word for one in settings for word in ("-o", one))]

    def run_client(self, *command: object, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a client to its end."""
        return subprocess.run(  # type: ignore[call-overload, no-any-return]
            [str(word) for word in command],
            **{"capture_output": True, "text": True, "timeout": BOUND, "stdin": subprocess.DEVNULL, **options},
        )

    def sftp(self, batch: str, user: str = "bob", *more: str, **keys: str) -> subprocess.CompletedProcess[str]:
        """OpenSSH's sftp in batch mode, in the test's directory."""
        (self.place / "batch").write_text(batch)
        return self.run_client(
            "sftp", "-b", self.place / "batch", *self.options(*more, **keys), f"{user}@127.0.0.1", cwd=self.place
        )

    def ssh(self, *words: str, user: str = "bob", **options: object) -> subprocess.CompletedProcess[str]:
        """OpenSSH's ssh."""
        return self.run_client("ssh", *self.options(), f"{user}@127.0.0.1", *words, **options)


class ClientTests(SftpCase):
    def test_sftp(self) -> None:
        """OpenSSH's sftp stores, lists, fetches and removes, and ends with 0; the log has the login and the end."""
        octets = os.urandom(3_000_000)
        (self.place / "up").write_bytes(octets)
        done = self.sftp("put up\nls -l\nget up down\nmkdir d\nrename up d/up\nrm d/up\nrmdir d\n")
        self.assertEqual((done.returncode, (self.place / "down").read_bytes()), (0, octets), done.stderr)
        self.assertIn("3000000", done.stdout)
        self.daemon.wait_for(r"bob has logged in from 127\.0\.0\.1 by publickey \(SHA256:")
        found = self.daemon.wait_for(r"bob at 127\.0\.0\.1 has left after [\d.]+ s: (\d+) octets in, (\d+) out")
        self.assertTrue(all(3_000_000 < int(one) < 3_200_000 for one in found.groups()))

    def test_scp(self) -> None:
        """The scp of today speaks SFTP, there and back; the old one (-O) is told cleanly that it cannot."""
        (self.place / "up").write_bytes(b"some octets\n")
        there = f"scp://bob@127.0.0.1:{self.daemon.port('sftp')}"
        self.assertEqual(self.run_client("scp", *self.options(), self.place / "up", f"{there}/x").returncode, 0)
        self.assertEqual(self.run_client("scp", *self.options(), f"{there}/x", self.place / "down").returncode, 0)
        self.assertEqual((self.place / "down").read_bytes(), b"some octets\n")
        old = self.run_client("scp", "-O", *self.options(), self.place / "up", f"{there}/y")
        self.assertNotEqual(old.returncode, 0)
        self.assertFalse((self.files / "y").exists())

    def test_ciphers(self) -> None:
        """Every cipher and MAC that OpenSSH and this have in common moves a file there and back."""
        octets = os.urandom(200_000)
        (self.place / "up").write_bytes(octets)
        ciphers = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes192-ctr", "aes256-ctr")
        macs = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512")
        for cipher, mac in [*((one, macs[0]) for one in ciphers), *(("aes256-ctr", one) for one in macs)]:
            done = self.sftp("put up\nget up down\nrm up\n", "bob", f"Ciphers={cipher}", f"MACs={mac}")
            self.assertEqual((done.returncode, (self.place / "down").read_bytes()), (0, octets), done.stderr)

    def test_kinds_of_keys(self) -> None:
        """ECDSA and RSA keys of users let in, with either host key."""
        for name, kind in (("p256", "ecdsa-256"), ("p384", "ecdsa-384"), ("p521", "ecdsa-521"), ("rsa", "rsa-3072")):
            word, _, bits = kind.partition("-")
            self.make_key(name, "-t", word, "-b", bits)
            self.trust("bob", name)
            done = self.sftp("pwd\n", key=name)
            self.assertEqual(done.returncode, 0, done.stderr)
        (self.place / "known").unlink()
        done = self.sftp("pwd\n", "bob", "HostKeyAlgorithms=rsa-sha2-256", key="rsa")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_password(self) -> None:
        """A password lets in, and a wrong one not."""
        for password, lets_in in ((PASSWORD, True), ("wrong", False)):
            helper = self.place / "askpass"
            helper.write_text(f"#!/bin/sh\necho '{password}'\n")
            helper.chmod(0o700)
            environ = {**os.environ, "SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
            only = ("PubkeyAuthentication=no", "NumberOfPasswordPrompts=1")
            done = self.run_client(
                *("ssh", *self.options(*only), "bob@127.0.0.1", "sha256sum"), env=environ, start_new_session=True
            )
            self.assertEqual(done.returncode == 0, lets_in, done.stderr)
        self.daemon.wait_for(r"bob has logged in from 127\.0\.0\.1 by password")
        self.daemon.wait_for(r"127\.0\.0\.1 is not let in as bob by password: wrong user or password")

    def test_keys_refused(self) -> None:
        """A key that is not in the file, or not for this address, lets nobody in."""
        self.make_key("other", "-t", "ed25519")
        self.assertNotEqual(self.sftp("pwd\n", "bob", "BatchMode=yes", key="other").returncode, 0)
        self.trust("bob", "other", 'from="192.0.2.1" ')
        self.assertNotEqual(self.sftp("pwd\n", "bob", "BatchMode=yes", key="other").returncode, 0)
        self.daemon.wait_for("is not let in as bob by publickey: the key is not for this address")

    def test_options_of_keys(self) -> None:
        """What a line of authorized_keys says of a key holds: where from, until when, and nothing that is not known."""
        for number, (options, lets_in) in enumerate(
            (
                ('from="127.0.0.0/8,!127.0.0.2" ', True),
                ('from="127.0.0.*,!127.0.0.1" ', False),
                ('expiry-time="20991231" ', True),
                ('expiry-time="20200101Z" ', False),
                ('restrict,command="internal-sftp",no-pty ', True),
                ('command="/bin/sh" ', False),
                ("cert-authority ", False),
                ("no-touch-required ", True),
            )
        ):
            self.make_key(f"with{number}", "-t", "ed25519")
            self.trust("bob", f"with{number}", options)
            done = self.sftp("pwd\n", "bob", "BatchMode=yes", key=f"with{number}")
            self.assertEqual(done.returncode == 0, lets_in, f"{options}: {done.stderr}")
        self.daemon.wait_for("is not let in as bob by publickey: the key has expired")
        self.daemon.wait_for(r"line \d+: the option command is not known here: not used")

    def test_large_rsa_key(self) -> None:
        """An RSA key of 8192 bits, in either of its algorithms, lets in; one of 1024 bits does not."""
        large_rsa.write(self.place / "large")
        self.trust("bob", "large")
        for algorithm in ("rsa-sha2-256", "rsa-sha2-512"):
            done = self.sftp("pwd\n", "bob", f"PubkeyAcceptedAlgorithms={algorithm}", key="large")
            self.assertEqual(done.returncode, 0, done.stderr)
        self.make_key("small", "-t", "rsa", "-b", "1024")
        self.trust("bob", "small")
        done = self.sftp("pwd\n", "bob", "BatchMode=yes", "RequiredRSASize=1024", key="small")
        self.assertNotEqual(done.returncode, 0)
        self.daemon.wait_for("RSA keys have 2048 to 16384 bits, not 1024: not used")

    def test_access(self) -> None:
        """Who may only read does not write; who may only upload does not read; nobody leaves his directory."""
        (self.place / "up").write_bytes(b"x")
        (self.files / "there").write_bytes(b"to be read")
        self.assertEqual(self.sftp("get there\n", "ann").returncode, 0)
        self.assertNotEqual(self.sftp("put up\n", "ann").returncode, 0)
        self.assertEqual(self.sftp("put up\n", "eve").returncode, 0)
        self.assertNotEqual(self.sftp("get up again\n", "eve").returncode, 0)
        self.assertNotEqual(self.sftp("get ../../passwords stolen\n").returncode, 0)
        self.assertNotEqual(self.sftp(f"get {self.place}/passwords stolen\n").returncode, 0)
        self.assertFalse((self.place / "stolen").exists())

    def test_commands(self) -> None:
        """Sums are answered; anything else is no command; there is no shell."""
        (self.files / "x").write_bytes(b"octets")
        self.assertEqual(self.ssh("sha256sum x").stdout, f"{hashlib.sha256(b'octets').hexdigest()}  x\n")
        self.assertEqual(self.ssh("cat x; id").returncode, 127)
        self.assertNotEqual(self.ssh().returncode, 0)
        self.assertNotEqual(self.ssh("-s", "netconf").returncode, 0)

    def test_no_forwarding(self) -> None:
        """Neither ports of the server nor ways through it are opened."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            done = self.run_client("ssh", *self.options(), "-W", f"127.0.0.1:{port}", "bob@127.0.0.1")
            self.assertIn("administratively prohibited", done.stderr)
        forward = ("ExitOnForwardFailure=yes", "RemoteForward=127.0.0.1:0 127.0.0.1:9")
        done = self.run_client("ssh", *self.options(*forward), "bob@127.0.0.1", "sha256sum")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("remote port forwarding failed", done.stderr)

    def test_host_keys_are_kept(self) -> None:
        """After a restart the server has the same keys."""
        self.assertEqual(self.sftp("pwd\n").returncode, 0)
        known = (self.place / "known").read_text().split()[2]
        self.assertEqual(self.daemon.stop(), -signal.SIGTERM)
        self.daemon.lines.clear()
        self.daemon.start()
        self.daemon.wait_for(r"ready: \d+ services")
        keys = self.run_client("ssh-keyscan", "-t", "ed25519", "-p", self.daemon.port("sftp"), "127.0.0.1")
        self.assertIn(known, keys.stdout)

    def test_file_abuse_42_rekey(self) -> None:
        """OpenSSH exchanges keys every 256 KiB through an upload and a download, and all octets are right."""
        octets = os.urandom(8 << 20)
        (self.place / "up").write_bytes(octets)
        done = self.sftp("put up\nget up down\n", "bob", "RekeyLimit=256K")
        self.assertEqual((done.returncode, (self.place / "down").read_bytes()), (0, octets), done.stderr)

    def test_a_large_file(self) -> None:
        """200 MB there and back leave the daemon's memory as it was."""
        with (self.place / "up").open("wb") as file:
            for _ in range(200):
                file.write(os.urandom(1 << 20))
        self.assertEqual(self.sftp("pwd\n").returncode, 0)
        before = self.daemon.resident()
        done = self.sftp("put up\nget up down\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.run_client("cmp", self.place / "up", self.place / "down").returncode, 0)
        self.assertLess(self.daemon.resident() - before, 32 << 20)

    def test_stop_in_a_transfer(self) -> None:
        """A daemon that is stopped keeps what of an upload has come."""
        with (self.place / "up").open("wb") as file:
            file.truncate(1 << 30)
        slow = subprocess.Popen(
            ["sftp", "-l", "8000", *self.options(), "bob@127.0.0.1"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self.place,
        )
        self.addCleanup(slow.wait)
        self.addCleanup(slow.kill)
        assert slow.stdin is not None
        slow.stdin.write(b"put up\n")
        slow.stdin.flush()
        self.addCleanup(slow.stdin.close)
        wait_until(lambda: any(parts.sizes(self.files)), "nothing has come")
        self.assertEqual(self.daemon.stop(), -signal.SIGTERM)
        self.assertTrue(list(self.files.glob(".netsvc-*.part")))
        self.assertFalse((self.files / "up").exists())


class StrangerTests(SftpCase):
    def test_ssh_audit(self) -> None:
        """ssh-audit calls nothing that is offered a failure; with a `rate` it finds no way for DHEat, either.

        It counts how many connections of one address get a version in a second, not what they cost: max_logins, which
        bounds how many exchange keys at once, is nothing to it (nor is sshd's PerSourceMaxStartups, as it says).
        """
        audit = Path(sys.executable).with_name("ssh-audit")
        done = self.run_client(audit, "-n", "--skip-rate-test", "-p", self.daemon.port("sftp"), "127.0.0.1")
        self.assertIn("mlkem768x25519-sha256", done.stdout)
        self.assertNotIn("[fail]", done.stdout)
        done = self.run_client(audit, "-n", "-p", self.daemon.port("sftp:rated"), "127.0.0.1")
        self.assertIn("mlkem768x25519-sha256", done.stdout)
        self.assertNotIn("DHEat", done.stdout)

    def test_max_logins(self) -> None:
        """One address gets half of the places for logins; more of it are told so at once; a login makes room."""
        port = self.daemon.port("sftp:crowded")
        with contextlib.ExitStack() as stack:
            for _ in range(2):
                peer = stack.enter_context(socket.create_connection(("127.0.0.1", port), BOUND))
                self.assertEqual(peer.recv(7), b"SSH-2.0")
            with socket.create_connection(("127.0.0.1", port), BOUND) as refused:
                said = b""
                while data := refused.recv(1 << 16):
                    said += data
            self.assertIn(b"too many logins at once", said)
            done = self.sftp("pwd\n", section="sftp:crowded")
            self.assertIn("too many logins at once", done.stderr)
        self.daemon.wait_for("127.0.0.1 is disconnected: too many logins at once")
        wait_until(lambda: self.sftp("pwd\n", section="sftp:crowded").returncode == 0, "no place became free")

    def test_file_abuse_39_zlib(self) -> None:
        """OpenSSH that is asked to compress goes on without; nothing is compressed before the login or behind it."""
        done = self.run_client("ssh", *self.options("Compression=yes"), "-v", "bob@127.0.0.1", "sha256sum")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("compression: none", done.stderr)

    def test_file_abuse_35_lengths(self) -> None:
        """A packet of 4 GiB ends the connection at once, and takes no memory."""
        before = self.daemon.resident()
        for length in (b"\0\0\0\0", b"\xff\xff\xff\xff"):
            with socket.create_connection(("127.0.0.1", self.daemon.port("sftp")), BOUND) as peer:
                peer.sendall(b"SSH-2.0-x\r\n" + length + bytes(1000))
                while peer.recv(1 << 16):
                    pass
        self.assertLess(self.daemon.resident() - before, 8 << 20)
        self.daemon.wait_for("127.0.0.1 is disconnected: a packet of 4294967295 octets")

    def test_file_abuse_40_drips(self) -> None:
        """A version by drips is cut off when the time for the login is over."""
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.daemon.port("sftp:hasty")), BOUND) as peer:
            peer.settimeout(0.2)
            for octet in b"SSH-2.0-" + b"x" * 200:
                try:
                    peer.sendall(bytes((octet,)))
                    if peer.recv(1 << 16) == b"":
                        break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
            else:
                self.fail("it was not cut off")
        self.assertGreater(time.monotonic() - began, 1.5)
        self.daemon.wait_for("127.0.0.1 is disconnected: no login in time")

    def test_file_abuse_41_guessing(self) -> None:
        """Six wrong keys end the connection; the log has every one, and nothing of a password."""
        keys = []
        for number in range(7):
            self.make_key(f"wrong{number}", "-t", "ed25519")
            keys += ["-i", self.place / f"wrong{number}"]
        done = self.run_client(
            *("ssh", "-F", "none", *keys, "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes"),
            *("-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={self.place / 'known'}"),
            *("-p", self.daemon.port("sftp"), "bob@127.0.0.1", "sha256sum"),
        )
        self.assertIn("too many failed logins", done.stderr)
        wait_until(lambda: len(re.findall("is not let in as bob by publickey", self.daemon.log())) == 6)
        self.assertNotIn(PASSWORD, self.daemon.log())
