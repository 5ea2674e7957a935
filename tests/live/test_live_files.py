"""filetransfer in a real twistd, with the tutorials' client, rude peers, and netsvc get and put."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from base64 import b64decode, b64encode
from pathlib import Path
from typing import ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.live import parts
from tests.live.daemon import NETSVC, Daemon
from tests.live.sftp_account import USER, Account
from tests.ports import free_port
from tests.shared import SharedCase
from tests.waiting import wait_until

SSHD = "/usr/sbin/sshd"

MIB = 1 << 20
BOUND = 180.0  # seconds
INI = """\
[filetransfer]
listen = tcp:0:interface=127.0.0.1
offer = {place}/offer
[filetransfer:sparse]
listen = tcp:0:interface=127.0.0.1
offer = {place}/sparse
[filetransfer:inbox]
listen = tcp:0:interface=127.0.0.1
receive = yes
store = {place}/inbox
max_connections_per_source = 1000
[filetransfer:strict]
listen = tcp:0:interface=127.0.0.1
receive = yes
store = {place}/strict
idle_timeout = 1s
max_file_size = 1MiB
[http]
listen = tcp:0:interface=127.0.0.1
docroot = {place}/www
listing = yes
upload = yes
upload_anonymous = yes
upload_delete = yes
"""


def to_end(peer: socket.socket) -> bytes:
    """All that a peer sends."""
    got = b""
    while data := peer.recv(1 << 20):
        got += data
    return got


class FilesTests(SharedCase):
    """One daemon with all the doors that need no account."""

    place: ClassVar[Path]
    daemon: ClassVar[Daemon]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-files-"))
        for name in ("offer", "inbox", "strict", "www", "here"):
            (cls.place / name).mkdir()
        cls.data = os.urandom(5 * MIB + 1)
        (cls.place / "offer" / "汇总.bin").write_bytes(cls.data)
        with (cls.place / "sparse").open("wb") as sparse:
            sparse.truncate(1 << 40)
        cls.daemon = Daemon(INI.format(place=cls.place)).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place, ignore_errors=True)

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")

    def connect(self, section: str) -> socket.socket:
        peer = socket.create_connection(("127.0.0.1", self.daemon.port(section)), BOUND)
        self.addCleanup(peer.close)
        return peer

    def netsvc(self, *arguments: object, status: int = 0) -> str:
        """Run the command; what it printed."""
        ran = subprocess.run(
            [str(one) for one in (NETSVC, *arguments)],
            capture_output=True,
            text=True,
            timeout=BOUND,
            cwd=self.place,
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
        )
        self.assertEqual(ran.returncode, status, ran.stderr)
        return ran.stdout + ran.stderr

    def url(self, section: str) -> str:
        return f"netsvc://127.0.0.1:{self.daemon.port(section)}/"

    def test_the_tutorials_client(self) -> None:
        """A client that reads to EOF, decodes the JSON and then the base64 has the file; so do 50 at once."""
        found: list[bytes] = []

        def fetch() -> None:
            with socket.create_connection(("127.0.0.1", self.daemon.port("filetransfer")), BOUND) as peer:
                found.append(b64decode(json.loads(to_end(peer))["filedata"]))

        threads = [threading.Thread(target=fetch) for _ in range(50)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        self.assertEqual([one == self.data for one in found], [True] * 50)

    def test_there_and_back(self) -> None:
        """What netsvc get receives, netsvc put sends to an instance that receives; the digest is the same."""
        told = json.loads(
            self.netsvc("get", "--json", "-q", "-d", self.place / "here", self.url("filetransfer")).splitlines()[-1]
        )
        digest = hashlib.sha256(self.data).hexdigest()
        self.assertEqual(told["sha256"], digest)
        file = self.place / "here" / "汇总.bin"
        self.assertEqual(file.read_bytes(), self.data)
        told = json.loads(self.netsvc("put", "--json", "-q", "--verify", file, self.url("filetransfer:inbox")))
        self.assertEqual((told["stored"], told["sha256"]), ("汇总.bin", digest))
        self.assertEqual((self.place / "inbox" / "汇总.bin").read_bytes(), self.data)
        self.assertIn("it exists", self.netsvc("put", file, self.url("filetransfer:inbox"), status=1))
        self.assertIn("--verify", self.netsvc("get", "--verify", self.url("filetransfer"), status=5))
        self.assertIn("longer", self.netsvc("put", file, self.url("filetransfer:strict"), status=1))
        self.assertEqual(list((self.place / "strict").glob("*.bin")), [])

    def test_many_at_once(self) -> None:
        """Two hundred peers send at once, in drips and as a whole, and each has its file stored."""
        peers = [self.connect("filetransfer:inbox") for _ in range(200)]
        for number, peer in enumerate(peers):
            peer.sendall(f'{{"filename": "many-{number}", "filedata": "'.encode())
        for number, peer in enumerate(peers):
            peer.sendall(b64encode(self.data[number : number + 5000]) + b'"}')
            peer.shutdown(socket.SHUT_WR)
        for number, peer in enumerate(peers):
            self.assertEqual(json.loads(to_end(peer))["size"], 5000)
            self.assertEqual((self.place / "inbox" / f"many-{number}").read_bytes(), self.data[number : number + 5000])

    def test_file_abuse_1_2_cut(self) -> None:
        """A reset and an end in the middle are no success: nothing is there, not even a part."""
        for linger in (False, True):
            peer = self.connect("filetransfer:inbox")
            peer.sendall(b'{"filename": "cut", "filedata": "' + b"QUJD" * 100_000)
            wait_until(lambda: list((self.place / "inbox").glob(".netsvc-*")))
            if linger:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            wait_until(lambda: not list((self.place / "inbox").glob(".netsvc-*")))
        self.assertFalse((self.place / "inbox" / "cut").exists())

    def test_file_abuse_32_drips(self) -> None:
        """A peer that sends an octet now and then is cut off by the lowest rate, which has a default here."""
        peer = self.connect("filetransfer:strict")
        peer.sendall(b'{"filename": "drip", "filedata": "')
        began = time.monotonic()
        with self.assertRaises(OSError):
            while time.monotonic() - began < BOUND:
                peer.sendall(b"Q")
                time.sleep(0.1)
        self.assertFalse((self.place / "strict" / "drip").exists())

    def test_file_abuse_33_43_sparse_and_unread(self) -> None:
        """A sparse file of 1 TiB is offered at once, to peers that read nothing too; memory stays flat."""
        peers = [self.connect("filetransfer:sparse") for _ in range(20)]
        before = self.daemon.resident()
        head = b""
        while len(head) < 100:  # MSG_WAITALL does not wait on a socket that has a timeout
            data = peers[0].recv(100 - len(head))
            self.assertTrue(data, f"the end came after {head!r}")
            head += data
        self.assertTrue(head.startswith(b'{"filename": "sparse", "filedata": "AAAA'), head)
        got = 0
        while got < 300 * MIB:
            data = peers[0].recv(1 << 20)
            self.assertTrue(data, f"the end came after {got} octets")
            got += len(data)
        self.assertLess(self.daemon.resident() - before, 16 * MIB)

    def test_memory_of_a_large_file(self) -> None:
        """A file of 200 MiB is received, and sent, with memory that grows by less than 16 MiB."""
        file = self.place / "here" / "large"
        with file.open("wb") as out:
            for _ in range(200):
                out.write(os.urandom(MIB))
        before = self.daemon.resident()
        self.daemon_peak_reset()
        self.netsvc("put", file, self.url("filetransfer:inbox"))
        self.assertLess(self.daemon_peak() - before, 16 * MIB)
        self.assertEqual((self.place / "inbox" / "large").stat().st_size, 200 * MIB)

    def daemon_peak_reset(self) -> None:
        Path(f"/proc/{self.daemon.pid}/clear_refs").write_text("5")

    def daemon_peak(self) -> int:
        for line in Path(f"/proc/{self.daemon.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")

    def test_http(self) -> None:
        """By http a file goes there and comes back, verified both ways, is listed, goes on with -c, and is removed."""
        base = f"http://127.0.0.1:{self.daemon.port('http')}/"
        file = self.place / "here" / "a b.bin"
        file.write_bytes(self.data)
        self.netsvc("put", "--verify", file, base)
        self.assertEqual((self.place / "www" / "a b.bin").read_bytes(), self.data)
        (entry,) = map(json.loads, self.netsvc("ls", "--json", base).splitlines())
        self.assertEqual((entry["name"], entry["size"]), ("a b.bin", len(self.data)))
        back = self.place / "here" / "back"
        self.netsvc("get", "--verify", "-o", back, base + "a%20b.bin")
        self.assertEqual(back.read_bytes(), self.data)
        back.unlink()
        self.interrupt("get", "--limit-rate", "256KiB/s", "-o", back, base + "a%20b.bin")
        self.assertFalse(back.exists())
        told = json.loads(self.netsvc("get", "-c", "-q", "--json", "-o", back, base + "a%20b.bin"))
        self.assertGreater(told["resumed_at"], 0)
        self.assertEqual(back.read_bytes(), self.data)
        self.netsvc("rm", base + "a%20b.bin")
        self.netsvc("get", base + "a%20b.bin", status=3)

    def test_http_put_goes_on(self) -> None:
        """With -c a file is sent by tus: after Ctrl-C the next run sends the rest, and a third all of it again."""
        base = f"http://127.0.0.1:{self.daemon.port('http')}/"
        file = self.place / "here" / "tus ä.bin"
        file.write_bytes(self.data)
        self.interrupt("put", "-c", "--limit-rate", "256KiB/s", file, base, where="www")
        self.assertFalse((self.place / "www" / file.name).exists())
        wait_until(lambda: list((self.place / "www").glob(".netsvc/uploads/*.json")))
        told = json.loads(self.netsvc("put", "-c", "--verify", "-q", "--json", file, base))
        self.assertGreater(told["resumed_at"], 0)
        self.assertEqual((self.place / "www" / file.name).read_bytes(), self.data)
        told = json.loads(self.netsvc("put", "-c", "-q", "--json", file, base))
        self.assertEqual(told["resumed_at"], 0)
        self.assertEqual(list(self.state.glob("netsvc/uploads/*")), [])

    @property
    def state(self) -> Path:
        """What the command keeps over runs."""
        return self.place / "state"

    def interrupt(self, *arguments: object, where: str = "here") -> None:
        """Run the command and press Ctrl-C once something has come."""
        command = [str(one) for one in (NETSVC, *arguments)]
        environ = {**os.environ, "XDG_STATE_HOME": str(self.state)}
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=self.place, env=environ)
        wait_until(lambda: any(size > 100_000 for size in parts.sizes(self.place / where)), "nothing has come")
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=BOUND)
        self.assertEqual(child.returncode, 130)
        self.assertIn("-c goes on from there", errors)

    def test_nginx(self) -> None:
        """Against nginx: fetched, gone on with, listed by its JSON; what it forbids and has not is told apart."""
        port, prefix = free_port(), self.place / "nginx"
        (prefix / "files").mkdir(parents=True)
        prefix.chmod(0o755)
        self.place.chmod(0o755)
        (prefix / "files" / "n.bin").write_bytes(self.data)
        (prefix / "conf").write_text(
            f"daemon off; master_process off; pid {prefix}/pid; error_log {prefix}/log;\n"
            "events {}\nhttp { access_log off; "
            + "".join(
                f"{one}_temp_path {prefix}/{one}; " for one in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            + f"server {{ listen 127.0.0.1:{port}; root {prefix}/files; autoindex on; autoindex_format json; "
            "location = /no { return 403; } } }\n"
        )
        nginx = subprocess.Popen(["nginx", "-p", prefix, "-c", prefix / "conf"], stderr=subprocess.DEVNULL)
        self.addCleanup(nginx.wait)
        self.addCleanup(nginx.terminate)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens)
        base, back = f"http://127.0.0.1:{port}/", self.place / "here" / "n.bin"
        self.assertIn('"n.bin"', self.netsvc("ls", "--json", base))
        self.interrupt("get", "--limit-rate", "256KiB/s", "-d", self.place / "here", base + "n.bin")
        told = json.loads(self.netsvc("get", "-c", "-q", "--json", "-d", self.place / "here", base + "n.bin"))
        self.assertGreater(told["resumed_at"], 0)
        self.assertEqual(back.read_bytes(), self.data)
        self.netsvc("get", base + "no", status=4)
        self.netsvc("get", base + "none", status=3)
        self.assertIn("413", self.netsvc("put", back, base, status=1))
        back.write_bytes(b"small")
        self.assertIn("405", self.netsvc("put", back, base, status=4))


class SftpTests(SynchronousTestCase):
    """netsvc get, put, ls and rm by sftp: this daemon, and OpenSSH's own server."""

    def setUp(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-files-sftp-"))
        self.addCleanup(shutil.rmtree, self.directory)

    def netsvc(self, *arguments: object, status: int = 0) -> str:
        ran = subprocess.run(
            [str(one) for one in (NETSVC, *arguments)],
            capture_output=True,
            text=True,
            timeout=BOUND,
            cwd=self.directory,
        )
        self.assertEqual(ran.returncode, status, ran.stderr)
        return ran.stdout + ran.stderr

    def both_ways(self, ssh: str, url: str, root: Path) -> None:
        """Send, list, fetch, go on behind SIGTERM and remove, with digests, in a directory that is there."""
        data = os.urandom(3 * MIB + 1)
        file, back = self.directory / "ä b.bin", self.directory / "back"
        file.write_bytes(data)
        told = json.loads(self.netsvc("put", "--ssh", ssh, "--verify", "-q", "--json", file, url))
        self.assertTrue(told["verified"])
        self.assertEqual((root / file.name).read_bytes(), data)
        listed = [json.loads(line) for line in self.netsvc("ls", "--ssh", ssh, "--json", url).splitlines()]
        self.assertIn((file.name, len(data)), [(one["name"], one["size"]) for one in listed])
        name = url + "%C3%A4%20b.bin"
        told = json.loads(self.netsvc("get", "--ssh", ssh, "--verify", "-q", "--json", "-o", back, name))
        self.assertEqual((back.read_bytes() == data, told["verified"]), (True, True))
        back.unlink()
        command = [str(one) for one in (NETSVC, "get", "--ssh", ssh, "--limit-rate", "256KiB/s", "-o", back, name)]
        child = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_until(lambda: any(size > 100_000 for size in parts.sizes(self.directory)), "nothing has come")
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=BOUND)
        self.assertEqual((child.returncode, back.exists()), (130, False))
        told = json.loads(self.netsvc("get", "--ssh", ssh, "-c", "-q", "--json", "-o", back, name))
        self.assertGreater(told["resumed_at"], 0)
        self.assertEqual(back.read_bytes(), data)
        (root / "c.bin.part").write_bytes(data[:MIB])
        (self.directory / "c.bin").write_bytes(data)
        told = json.loads(self.netsvc("put", "--ssh", ssh, "-c", "-q", "--json", self.directory / "c.bin", url))
        self.assertEqual((told["resumed_at"], (root / "c.bin").read_bytes() == data), (MIB, True))
        self.netsvc("rm", "--ssh", ssh, name)
        self.netsvc("get", "--ssh", ssh, name, status=3)

    def test_this_daemon(self) -> None:
        """Against the sftp kind; a key that it does not know is not let in, with status 4."""
        with Account() as account:
            ssh = shlex.join(("ssh", *account.options))
            self.both_ways(ssh, f"sftp://{USER}@127.0.0.1/", account.root)
            self.netsvc("ls", "--ssh", ssh, "sftp://stranger@127.0.0.1/", status=4)
            self.assertNotRegex(account.daemon.log(), "Traceback|Unhandled")

    def test_openssh(self) -> None:
        """Against OpenSSH's server, as the user who runs the tests."""
        port, key, host_key = free_port(), self.directory / "id", self.directory / "host"
        for one in (key, host_key):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", one], check=True)
        Path("/run/sshd").mkdir(exist_ok=True)  # where sshd jails what has not logged in yet
        (self.directory / "conf").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {key}.pub\n"
            "StrictModes no\nUsePAM no\nPidFile none\nPasswordAuthentication no\n"
            "Subsystem sftp internal-sftp\n"
        )
        sshd = subprocess.Popen([SSHD, "-D", "-e", "-f", self.directory / "conf"], stderr=subprocess.DEVNULL)
        self.addCleanup(sshd.wait)
        self.addCleanup(sshd.terminate)

        def listens() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        wait_until(listens)
        options = ("StrictHostKeyChecking=accept-new", f"UserKnownHostsFile={self.directory}/known", "BatchMode=yes")
        ssh = shlex.join(("ssh", "-i", str(key), "-F", "none", *(f"-o{one}" for one in options)))
        root = self.directory / "root"
        root.mkdir()
        self.both_ways(ssh, f"sftp://127.0.0.1:{port}{root}/", root)
