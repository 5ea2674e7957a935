"""Settings, the server's own keys, and the service that is made of them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.listen import TcpAddress
from netsvc.errors import StartError
from netsvc.services.sftp.host_keys import HostKeys
from netsvc.services.sftp.login.users import User
from netsvc.services.sftp.service import make_service
from netsvc.services.sftp.settings import SftpSettings
from tests.fakes import FakeRuntime
from tests.services.sftp.ssh.client import HASHED


class PlaceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.place)


class SettingsTests(PlaceCase):
    def setUp(self) -> None:
        super().setUp()
        (self.place / "passwords").write_text(f"bob:{HASHED}\n")
        (self.place / "keys").mkdir(mode=0o700)
        self.right = SftpSettings(
            listen=(TcpAddress(port=0, interface="127.0.0.1"),),
            users=(User("bob"),),
            root=self.place / "%u",
            authorized_keys=self.place / "keys" / "%u",
            password_file=self.place / "passwords",
        )

    def faults(self, **changes: object) -> list[tuple[str, str]]:
        return list(attrs.evolve(self.right, **changes).check())  # type: ignore[arg-type]

    def test_right(self) -> None:
        """A user's directory may be missing if what is above it is there; a key file may come later."""
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.right.directory_of(User("bob")), self.place / "bob")
        self.assertEqual(self.right.directory_of(User("bob", directory=Path("/x"))), Path("/x"))

    def test_directories(self) -> None:
        """A directory that is not there, or is a file, or that nothing names."""
        self.assertEqual(self.faults(root=None), [("users", "bob has no directory, and there is no root")])
        for root in (self.place / "none" / "%u", self.place / "passwords"):
            ((key, message),) = self.faults(root=root)
            self.assertEqual(key, "root")
            self.assertIn("the directory of bob, is not there", message)

    def test_ways_in(self) -> None:
        """Somebody must be able to log in, and with passwords only everybody."""
        found = self.faults(authorized_keys=None, password_file=None)
        self.assertEqual(found, [("users", "nobody can log in: set authorized_keys or password_file")])
        found = self.faults(authorized_keys=None, users=(User("bob"), User("ann")))
        self.assertEqual(found, [("users", "ann cannot log in: he is not in the password_file")])

    def test_password_file(self) -> None:
        """A password file that is missing or has a fault; no hash is shown."""
        self.assertEqual(self.faults(password_file=self.place / "none")[0][0], "password_file")
        (self.place / "passwords").write_text("bob:{SHA}c2VjcmV0\n")
        ((key, message),) = self.faults()
        self.assertEqual(key, "password_file")
        self.assertNotIn("c2VjcmV0", message)

    def test_modes(self) -> None:
        """Key files that others could have written, and host keys that others can read, are faults."""
        (self.place / "keys" / "bob").write_text("")
        (self.place / "keys" / "bob").chmod(0o666)
        ((key, message),) = self.faults()
        self.assertEqual(key, "authorized_keys")
        self.assertIn("0666", message)
        (self.place / "keys" / "bob").chmod(0o600)
        (self.place / "ssh_host_rsa_key").write_text("")
        (self.place / "ssh_host_rsa_key").chmod(0o644)
        ((key, message),) = self.faults(host_keys=self.place)
        self.assertEqual(key, "host_keys")
        self.assertIn("0644", message)
        self.assertEqual(self.faults(host_keys=self.place / "none")[0][0], "host_keys")

    def test_service(self) -> None:
        """The keys are made when the service starts, not before; a password file with a fault ends the start."""
        runtime = FakeRuntime(self.place / "state")
        runtime.state_directory.mkdir()
        service = make_service(self.right, runtime)
        service.privilegedStartService()
        self.assertEqual(list(runtime.state_directory.iterdir()), [])
        service.startService()
        self.addCleanup(service.stopService)
        made = sorted(one.name for one in (runtime.state_directory / "sftp-host-keys").iterdir())
        self.assertEqual(
            made, ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "ssh_host_rsa_key", "ssh_host_rsa_key.pub"]
        )
        (self.place / "passwords").write_text("nonsense\n")
        with self.assertRaises(StartError):
            make_service(self.right, runtime).privilegedStartService()


class HostKeysTests(PlaceCase):
    def opened(self) -> HostKeys:
        keys = HostKeys(self.place / "keys")
        keys.open()
        keys.make_missing()
        return keys

    def test_made_and_kept(self) -> None:
        """The keys are made once, are the daemon's alone, and are the same ever after."""
        first, second = self.opened(), self.opened()
        self.assertEqual(first.public, second.public)
        self.assertEqual(first.algorithms, (b"ssh-ed25519", b"rsa-sha2-512", b"rsa-sha2-256"))
        self.assertEqual(first.private[b"ssh-rsa"].size(), 3072)
        self.assertEqual(stat.S_IMODE((self.place / "keys").stat().st_mode), 0o700)
        for name in ("ssh_host_ed25519_key", "ssh_host_rsa_key"):
            self.assertEqual(stat.S_IMODE((self.place / "keys" / name).stat().st_mode), 0o600)
        self.assertFalse([one for one in os.listdir(self.place / "keys") if one.startswith(".")])

    def test_another_process(self) -> None:
        """Where another process has made a key meanwhile, that one is taken."""
        late = HostKeys(self.place / "keys")
        late.open()
        first = self.opened()
        late.make_missing()
        self.assertEqual(first.public, late.public)

    def test_refused(self) -> None:
        """A key that others can read, or that is none, or of another kind, ends the start in words without the key."""
        self.opened()
        path = self.place / "keys" / "ssh_host_ed25519_key"
        whole = path.read_bytes()
        path.chmod(0o640)
        with self.assertRaisesRegex(StartError, "0640"):
            self.opened()
        path.chmod(0o600)
        for octets in (b"", b"nonsense", whole[:100], path.with_suffix(".pub").read_bytes()):
            path.write_bytes(octets)
            with self.assertRaises(StartError) as caught:
                self.opened()
            self.assertNotIn("BEGIN", str(caught.exception))
        path.write_bytes((self.place / "keys" / "ssh_host_rsa_key").read_bytes())
        with self.assertRaises(StartError):
            self.opened()
