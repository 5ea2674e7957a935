"""Programs that read files from our http, and go on after a cut: aria2, wget2, curl, lftp, rclone; lftp writes, too."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import ClassVar

from tests.live.cut_proxy import CutProxy
from tests.live.daemon import Daemon
from tests.shared import SharedCase

MIB = 1 << 20
BOUND = 180.0  # seconds
NAME = "ü b.bin"
PATH = "%C3%BC%20b.bin"


class ReaderTests(SharedCase):
    """One daemon with a list of files, and a network that breaks in the middle of one."""

    place: ClassVar[Path]
    daemon: ClassVar[Daemon]
    data: ClassVar[bytes]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-readers-"))
        cls.data = os.urandom(8 * MIB + 1)
        (cls.place / "www" / "deep").mkdir(parents=True)
        (cls.place / "in").mkdir()
        for name in ("big.bin", NAME, "deep/c.bin"):
            (cls.place / "www" / name).write_bytes(cls.data)
        cls.daemon = Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.place}/www\nlisting = yes\n"
            f"[http /in/]\ndocroot = {cls.place}/in\nupload = yes\nupload_anonymous = yes\nupload_delete = yes\n"
            "upload_directories = yes\n"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place, ignore_errors=True)

    def setUp(self) -> None:
        super().setUp()
        self.here = Path(tempfile.mkdtemp(dir=self.place))
        self.url = f"http://127.0.0.1:{self.daemon.port('http')}/"

    def run_client(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a program; however it ends."""
        environ = {**os.environ, "HOME": str(self.here), "LC_ALL": "C.UTF-8"}
        return subprocess.run(command, capture_output=True, text=True, cwd=self.here, timeout=BOUND, env=environ)

    def succeed(self, *command: str) -> str:
        """What a program writes that must exit with 0."""
        done = self.run_client(*command)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def is_whole(self, *names: str) -> None:
        """Each has the octets of the file."""
        for name in names:
            self.assertEqual((self.here / name).read_bytes(), self.data, name)

    def goes_on(self, name: str, *command: str) -> None:
        """The network breaks after 5 MiB: the file is cut; the program, run again, gets the rest, not all of it.

        :param name: what it writes.
        :param command: with {url} for the file's address.
        """
        with CutProxy(self.daemon.port("http")) as proxy:
            filled = [word.replace("{url}", f"http://127.0.0.1:{proxy.port}/big.bin") for word in command]
            proxy.most = 5 * MIB
            self.run_client(*filled)  # not all of them say that it failed
            self.assertNotEqual((self.here / name).read_bytes(), self.data)
            proxy.most, proxy.returned = None, 0
            proxy.mend()
            self.succeed(*filled)
            self.is_whole(name)
            self.assertLess(proxy.returned, 7 * MIB)

    def test_aria2(self) -> None:
        """Aria2 gets a file over four connections, names with blanks, and goes on with what it kept a record of."""
        aria2 = ("aria2c", "--no-conf", "-q", "-m1")
        self.succeed(*aria2, "-x4", "-s4", "-k1M", self.url + "big.bin", "-o", "four")
        self.succeed(*aria2, "-Z", self.url + PATH, self.url + "deep/c.bin")
        self.is_whole("four", NAME, "c.bin")
        # By HEAD: to see what goes on, it would else begin to get all of it, and leave much of that unread on its way.
        self.goes_on("rest", *aria2, "-c", "-s1", "--use-head=true", "--file-allocation=none", "-o", "rest", "{url}")

    def test_wget2(self) -> None:
        """Wget2 gets a file in chunks over several connections, goes on with one, and follows the list."""
        wget2 = ("wget2", "-q", "--tries=1")
        self.succeed(*wget2, "--chunk-size=1M", "--max-threads=4", "-O", "chunks", self.url + "big.bin")
        self.is_whole("chunks")
        self.goes_on("big.bin", *wget2, "-c", "{url}")  # with -O it would begin anew
        self.succeed(*wget2, "-r", "-np", "-nH", "-P", "tree", self.url)
        self.is_whole("tree/big.bin", f"tree/{NAME}", "tree/deep/c.bin")

    def test_curl(self) -> None:
        """Curl lists, gets several at once and a range, goes on, and is done with what is whole."""
        self.assertIn('"big.bin"', self.succeed("curl", "-sS", "-H", "Accept: application/json", self.url))
        self.succeed("curl", "-sSZ", "-O", self.url + "big.bin", "-o", NAME, self.url + PATH)
        self.is_whole("big.bin", NAME)
        self.assertEqual(
            len(self.succeed("curl", "-sS", "-r", "5-9", self.url + "big.bin", "-D", "head", "-o", "r")), 0
        )
        self.assertEqual((self.here / "r").read_bytes(), self.data[5:10])
        curl = ("curl", "-sS", "-C", "-", "-o", "rest")
        self.goes_on("rest", *curl, "{url}")
        self.succeed(*curl, self.url + "big.bin")
        self.is_whole("rest")

    def test_lftp(self) -> None:
        """Lftp lists, gets, gets in four parts, mirrors a tree, and goes on."""
        settings = "set cmd:fail-exit yes; set net:max-retries 1; set net:reconnect-interval-base 1"
        script = f"{settings}; open {self.url}; cls -l; get big.bin -o whole; pget -n 4 big.bin -o four; mirror . tree"
        self.assertIn(f"{len(self.data)} ", self.succeed("lftp", "-c", script))
        self.is_whole("whole", "four", "tree/big.bin", f"tree/{NAME}", "tree/deep/c.bin")
        self.goes_on("rest", "lftp", "-c", f"{settings}; get -c {{url}} -o rest")

    def test_lftp_writes(self) -> None:
        """Lftp puts a file and a tree, and removes them; its way to continue a put is refused, and harms no file."""
        (self.here / "tree" / "deep").mkdir(parents=True)
        for name in ("a.bin", "tree/deep/b.bin"):
            (self.here / name).write_bytes(self.data)
        (self.place / "in" / "half.bin").write_bytes(self.data[:MIB])
        settings = f"set cmd:fail-exit yes; set net:max-retries 1; open {self.url}in/"
        self.succeed("lftp", "-c", f"{settings}; put a.bin; mkdir d; mirror -R tree d/tree; cls -l; get a.bin -o back")
        self.assertEqual((self.place / "in" / "d" / "tree" / "deep" / "b.bin").read_bytes(), self.data)
        self.is_whole("back")
        done = self.run_client("lftp", "-c", f"{settings}; put -c a.bin -o half.bin")
        self.assertIn("400 Range: a PUT brings the whole file", done.stderr)
        self.assertEqual((self.place / "in" / "half.bin").read_bytes(), self.data[:MIB])
        self.succeed("lftp", "-c", f"{settings}; rm a.bin; rm half.bin; rm -r d")
        self.assertEqual(os.listdir(self.place / "in"), [])

    def test_rclone(self) -> None:
        """Rclone's http remote lists, tells sizes, copies a tree, over several connections where a file is large."""
        rclone = ("rclone", "--config", "", "--http-url", self.url)
        self.assertIn(f"{len(self.data)} big.bin", self.succeed(*rclone, "ls", ":http:"))
        streams = ("--multi-thread-cutoff", "2M", "--multi-thread-streams", "4")
        self.succeed(*rclone, *streams, "copy", ":http:", "tree")
        self.is_whole("tree/big.bin", f"tree/{NAME}", "tree/deep/c.bin")
