"""The README's tour, each line as written, against the sample configuration on other ports."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from urllib.request import urlopen

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import NETSVC, Daemon
from tests.ports import free_port

ROOT = Path(__file__).parents[2]
BOUND = 120.0  # seconds for the whole tour

_LISTEN = re.compile(r"(tcp|udp):(\d+):interface=127\.0\.0\.1")
_UDP = re.compile(r"(nc -u -w 1 127\.0\.0\.1 |udp://127\.0\.0\.1:)(\d{4})\b")
_TCP = re.compile(r"(127\.0\.0\.1[ :]|127\.0\.0\.1\", )(\d{4})\b")


class TourTests(SynchronousTestCase):
    """What a new user sees first."""

    def test_the_tour(self) -> None:
        """Every command of the tour succeeds, and shows what the README says that it shows."""
        sample = (ROOT / "etc" / "netsvc.ini").read_text()
        ini = _LISTEN.sub(r"\1:0:interface=127.0.0.1", sample).replace("= www", f"= {ROOT / 'etc' / 'www'}")
        blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
        self.assertGreaterEqual(len(blocks), 4)
        with Daemon(ini) as daemon:
            home = daemon.directory / "home"
            script = "".join(blocks).replace(".venv/bin/netsvc", str(NETSVC))
            script = script.replace("~/.local/state/netsvc", str(daemon.directory / "xdg" / "netsvc"))
            look = f"{NETSVC} mail queue"  # a slow machine may look before the message has arrived
            waiting = f"timeout 30 sh -c 'until {look} | grep -q empty; do sleep 0.1; done'; {look}"
            script = script.replace(look, waiting)
            udp, tcp = self.ports(sample, daemon, "udp"), self.ports(sample, daemon, "tcp")
            script = _UDP.sub(lambda match: match[1] + udp[match[2]], script)
            script = _TCP.sub(lambda match: match[1] + tcp[match[2]], script)
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", script],
                capture_output=True,
                text=True,
                cwd=ROOT,
                timeout=BOUND,
                env={**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(daemon.directory / "xdg")},
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for shown in (
            "Welcome!Hello, Michael!",
            "Hello, World!",
            "Hello, Tracy!",
            "hills.png 33134 octets",
            "The queue is empty.",
            "no faults",
        ):
            self.assertIn(shown, done.stdout)

    def test_moving_in(self) -> None:
        """The five lines for a directory of scripts, as written but for its place: the last of them serves."""
        lines = re.search(
            r"^## Moving .*?\n\n((?:    [^\n]*\n)+)", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE
        )
        assert lines is not None
        self.assertEqual(lines[1].count("\n"), 5)
        *commands, last = (line.strip() for line in lines[1].splitlines())
        self.assertTrue(last.startswith("twistd -n --pidfile= netsvc --config netsvc.ini"))
        with tempfile.TemporaryDirectory() as directory:
            script = "\n".join(commands).replace("/usr/lib/cgi-bin", str(ROOT / "etc" / "www" / "cgi-bin"))
            script = script.replace("/var/www/html", str(ROOT / "etc" / "www"))
            environment = {**os.environ, "PATH": f"{NETSVC.parent}:{os.environ['PATH']}", "HOME": directory}
            done = subprocess.run(
                ["bash", "-e", "-c", script],
                capture_output=True,
                text=True,
                cwd=directory,
                timeout=BOUND,
                env=environment,
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("cgi-bin/hello.py", done.stdout)
            ini = (Path(directory) / "netsvc.ini").read_text().replace("tcp:8000", "tcp:0:interface=127.0.0.1")
        with Daemon(f"[netsvc]\nstate_directory = s\n{ini}") as daemon:
            with urlopen(f"http://127.0.0.1:{daemon.port('http')}/cgi-bin/hello.py", timeout=BOUND) as answer:
                self.assertIn(b"Hello", answer.read())

    def test_first_mail(self) -> None:
        """The first five minutes of mail, as written: two messages arrive, and the books and the faults prove it."""
        text = (ROOT / "README.md").read_text()
        section = re.search(r"^## The first five minutes of mail\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
        assert section is not None
        first, last, *rest = (line.strip() for line in re.findall(r"(?m)^    (.*)$", section[1]))
        self.assertEqual(last, "twistd -n --pidfile= netsvc --config mail.ini")
        with tempfile.TemporaryDirectory() as directory:

            def run(script: str, **more: str) -> str:
                done = subprocess.run(
                    ["bash", "-e", "-o", "pipefail", "-c", script],
                    capture_output=True,
                    text=True,
                    cwd=directory,
                    timeout=BOUND,
                    env={**os.environ, "PATH": f"{NETSVC.parent}:{os.environ['PATH']}", **more},
                )
                self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
                return done.stdout

            run(first)
            with Daemon((Path(directory) / "mail.ini").read_text()) as daemon:
                said = run("\n".join(rest), XDG_STATE_HOME=str(daemon.directory / "xdg"), HOME=directory)
        for shown in ("-> you@example.com", "2 messages, ", "The books balance.", "Proven by content"):
            self.assertIn(shown, " ".join(said.split()))

    def test_files(self) -> None:
        """Files, as written: each client succeeds, and every door has the same octets."""
        text = (ROOT / "README.md").read_text()
        section = re.search(r"^## Files, with the clients [^\n]*\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
        assert section is not None
        numbers = {"2222": str(free_port()), "8080": str(free_port())}
        lines = re.findall(r"(?m)^    (.*)$", re.sub("2222|8080", lambda match: numbers[match[0]], section[1]))
        start = lines.index("twistd -n --pidfile= netsvc --config files.ini")
        daemon = Daemon("")
        daemon.config = daemon.directory / "files.ini"
        self.addCleanup(daemon.close)
        programs = self.openssh_at_home(daemon.directory)

        def run(line: str, script: str = "") -> str:
            done = subprocess.run(
                ["bash", "-e", "-o", "pipefail", "-c", line],
                input=script,
                capture_output=True,
                text=True,
                cwd=daemon.directory,
                timeout=BOUND,
                env={
                    **os.environ,
                    "PATH": f"{programs}:{NETSVC.parent}:{os.environ['PATH']}",
                    "HOME": str(daemon.directory),
                    "XDG_STATE_HOME": str(daemon.directory / "xdg"),
                },
            )
            self.assertEqual(done.returncode, 0, line + "\n" + done.stdout + done.stderr)
            return done.stdout

        for line in lines[:start]:
            run(line)
        shutil.copy(ROOT / "README.md", daemon.directory)
        said = ""
        with daemon:
            for line in lines[start + 1 :]:
                said += run(line, "put README.md mine\nget mine back\n" if line.startswith("sftp ") else "")
            for name in (
                "files/mine",
                "back",
                "files/README.md",
                "files/again",
                "copy",
                "copies/README.md",
                "copies/again",
            ):
                self.assertEqual((daemon.directory / name).read_text(), text, name)
        for name in ("README.md", "again", "mine"):
            self.assertRegex(said, rf"(?m)\b{name}$")

    def openssh_at_home(self, home: Path) -> Path:
        """A directory with programs that have their keys and known hosts in a home; OpenSSH goes by passwd's."""
        (home / ".ssh").mkdir(mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / ".ssh" / "id_ed25519"], check=True)
        programs = home / "programs"
        programs.mkdir()
        options = f"-i {home}/.ssh/id_ed25519 -o UserKnownHostsFile={home}/.ssh/known_hosts"
        for name in ("ssh", "sftp"):
            program = (
                f'#!/bin/sh\nexec {shutil.which(name)} -F none {options} -o StrictHostKeyChecking=accept-new "$@"\n'
            )
            (programs / name).write_text(program)
            (programs / name).chmod(0o755)
        return programs

    def ports(self, sample: str, daemon: Daemon, scheme: str) -> dict[str, str]:
        """The sample's ports and those that they became."""
        section = ""
        found: dict[str, str] = {}
        for line in sample.splitlines():
            if line.startswith("["):
                section = line.strip("[]")
            elif (match := _LISTEN.search(line)) and match[1] == scheme and not line.startswith("#"):
                found[match[2]] = str(daemon.port(section, scheme))
        return found
