"""A daemon with one SFTP user, whose key and files are in a directory of the test, and programs run with it."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import tempfile
from pathlib import Path

from tests.live.daemon import Daemon
from tests.services.sftp.session import CREAT, HANDLE, INIT, OPEN, STATUS, TRUNC, VERSION, W, packet, text, u32, u64

BOUND = 180.0  # seconds for one command

USER = "ada"


class Account:
    """Runs the daemon; a context manager.

    :param more: lines of the section.
    :ivar root: the user's files.
    :ivar here: a directory for the client's files, its working directory.
    """

    def __init__(self, access: str = "full", more: str = "") -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="netsvc-sftp-"))
        self.root = self.directory / "root"
        self.here = self.directory / "here"
        self.root.mkdir()
        self.here.mkdir()
        self.key = self.directory / "id"
        self.known_hosts = self.directory / "known_hosts"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key))
        keys = self.directory / "authorized_keys"
        shutil.copy(self.key.with_suffix(".pub"), keys)
        self.daemon = Daemon(
            f"[sftp]\nlisten = tcp:0:interface=127.0.0.1\nusers = {USER} {access}\n"
            f"root = {self.root}\nauthorized_keys = {keys}\n{more}"
        )

    def __enter__(self) -> Account:
        self.daemon.__enter__()
        self._know_port()
        return self

    def restart(self) -> None:
        """Stop the daemon as its operator would, and start it again."""
        assert self.daemon.stop() == -signal.SIGTERM
        self.daemon.lines.clear()
        self.daemon.__enter__()
        self._know_port()

    def _know_port(self) -> None:
        self.port = self.daemon.port("sftp")
        self.options = tuple(
            part
            for option in (
                f"Port={self.port}",
                f"IdentityFile={self.key}",
                f"UserKnownHostsFile={self.known_hosts}",
                "IdentitiesOnly=yes",
                "StrictHostKeyChecking=accept-new",
                "LogLevel=ERROR",
                "BatchMode=yes",
            )
            for part in ("-o", option)
        )

    def __exit__(self, *error: object) -> None:
        self.daemon.__exit__(None, None, None)
        shutil.rmtree(self.directory, ignore_errors=True)

    def run(self, *command: str, script: str | None = None, **environ: str) -> str:
        """Run a program in `here`; its output. It must exit with status 0."""
        return run(*command, script=script, cwd=self.here, environ={"HOME": str(self.directory), **environ})

    def sftp(self, script: str) -> str:
        """Run OpenSSH's sftp with a batch file."""
        return self.run("sftp", "-q", *self.options, "-b", "-", f"{USER}@127.0.0.1", script=script)

    def ssh(self, line: str) -> str:
        """Have a command run."""
        return self.run("ssh", *self.options, f"{USER}@127.0.0.1", line)

    def cut_off(self, name: str, data: bytes) -> None:
        """An upload whose connection is lost after these octets, as the daemon has logged."""
        command = ["ssh", *self.options, "-s", f"{USER}@127.0.0.1", "sftp"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
            assert client.stdin is not None
            assert client.stdout is not None

            def ask(request: bytes) -> tuple[int, bytes]:
                client.stdin.write(request)
                client.stdin.flush()
                (length,) = struct.unpack(">I", client.stdout.read(4))
                answer = client.stdout.read(length)
                return answer[0], answer[5:]

            try:
                assert ask(packet(INIT, 3))[0] == VERSION
                kind, handle = ask(packet(OPEN, 1, text(name), u32(W | CREAT | TRUNC), u32(0)))
                assert kind == HANDLE
                for offset in range(0, len(data), 32768):
                    request = packet(6, 2, handle, u64(offset), text(data[offset : offset + 32768]))
                    assert ask(request)[0] == STATUS
            finally:
                client.kill()
        self.daemon.wait_for(rf"upload of {name} .* was cut off at octet {len(data)}")


def run(
    *command: str, script: str | None = None, cwd: Path | None = None, environ: dict[str, str] | None = None
) -> str:
    """Run a program; its output. It must exit with status 0."""
    done = subprocess.run(
        command,
        input=script or "",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        cwd=cwd,
        env={**os.environ, **(environ or {})},
        timeout=BOUND,
    )
    assert done.returncode == 0, f"{command} exited with {done.returncode}:\n{done.stdout}"
    return done.stdout
