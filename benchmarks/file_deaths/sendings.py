"""What is sent at each point: files by each door, and how each is tried again after the daemon has died."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import socket
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from attrs import define, field

from benchmarks.processes import LOOPBACK

PATIENCE = 30.0  # seconds for an answer; a daemon that was killed closes at once
BLOCK = 64 << 10  # octets of one send
DRAFT = "8"  # the version of draft-ietf-httpbis-resumable-upload that is spoken


class CutError(Exception):
    """The daemon died before it answered, or answered what nobody should."""


@define
class Doors:
    """Where the daemon of the present life listens."""

    http: int
    sftp: int
    inbox: int
    directory: Path  # of the client: batches, keys, sources


@define
class Sending:
    """One file that is to be published.

    :ivar acknowledged: the daemon has said that it is.
    """

    name: str
    size: int
    acknowledged: bool = False
    content: bytes = field(init=False, repr=False)

    @content.default
    def _content(self) -> bytes:
        return random.Random(self.name).randbytes(self.size)

    @property
    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        return hashlib.sha256(self.content).digest()

    def send(self, doors: Doors) -> None:
        """Try once, or once more.

        :raises CutError: it did not come to an end.
        """
        raise NotImplementedError


class _Final(http.client.HTTPResponse):
    """The final answer: the draft's interim ones (104) are passed over, of which http.client knows only 100."""

    def _read_status(self) -> tuple[str, int, str]:
        while True:
            version, status, reason = super()._read_status()
            if not 100 <= status < 200:
                return version, status, reason
            http.client.parse_headers(self.fp)


def _ask(doors: Doors, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> http.client.HTTPResponse:
    """One exchange on a connection of its own."""
    connection = http.client.HTTPConnection(LOOPBACK, doors.http, timeout=PATIENCE)
    connection.response_class = _Final
    try:
        connection.putrequest(method, path)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            connection.putheader(name, value)
        connection.endheaders()
        for at in range(0, len(body), BLOCK):
            connection.send(body[at : at + BLOCK])
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise CutError(f"{method}: {error!r}") from error
    finally:
        connection.close()
    return answer


class Put(Sending):
    """By PUT: from the beginning each time."""

    def send(self, doors: Doors) -> None:
        status = _ask(doors, "PUT", f"/{self.name}", {}, self.content).status
        if status not in (201, 204):
            raise CutError(f"PUT was answered {status}")


class Form(Sending):
    """By the form of the listing page."""

    def send(self, doors: Doors) -> None:
        head = f'--b\r\nContent-Disposition: form-data; name="file"; filename="{self.name}"\r\n\r\n'
        body = head.encode() + self.content + b"\r\n--b--\r\n"
        status = _ask(doors, "POST", "/", {"Content-Type": "multipart/form-data; boundary=b"}, body).status
        if status not in (200, 201, 303, 409):  # 409: it was published, and the answer was lost
            raise CutError(f"the form was answered {status}")


@define
class Tus(Sending):
    """By tus 1.0, in two pieces, continued where it stands."""

    place: str = ""

    def send(self, doors: Doors) -> None:
        common = {"Tus-Resumable": "1.0.0"}
        if self.place:
            offset = self._stands(doors, common)
        if not self.place:
            name = base64.b64encode(self.name.encode()).decode()
            length = {"Upload-Length": str(self.size), "Upload-Metadata": f"filename {name}"}
            answer = _ask(doors, "POST", "/", common | length)
            if answer.status == 409:  # it was published, and the answer was lost
                return
            if answer.status != 201:
                raise CutError(f"a creation was answered {answer.status}")
            self.place, offset = _path(answer.getheader("Location", "")), 0
        kind = {"Content-Type": "application/offset+octet-stream"}
        while offset < self.size:
            piece = self.content[offset : offset + max(1, self.size // 2)]
            answer = _ask(doors, "PATCH", self.place, common | kind | {"Upload-Offset": str(offset)}, piece)
            if answer.status != 204:
                raise CutError(f"a piece was answered {answer.status}")
            offset = int(answer.getheader("Upload-Offset", ""))

    def _stands(self, doors: Doors, common: dict[str, str]) -> int:
        answer = _ask(doors, "HEAD", self.place, common)
        if answer.status in (404, 410):
            self.place = ""
            return 0
        if answer.status not in (200, 204):
            raise CutError(f"HEAD was answered {answer.status}")
        return int(answer.getheader("Upload-Offset", ""))


@define
class Draft(Sending):
    """By the IETF's draft: the first half, then the rest, from where it stands."""

    place: str = ""

    def send(self, doors: Doors) -> None:
        common = {"Upload-Draft-Interop-Version": DRAFT}
        offset = 0
        if self.place:
            answer = _ask(doors, "HEAD", self.place, common)
            if answer.status in (404, 410):
                self.place = ""
            elif answer.status not in (200, 204):
                raise CutError(f"HEAD was answered {answer.status}")
            else:
                offset = int(answer.getheader("Upload-Offset", ""))
                if answer.getheader("Upload-Complete") == "?1":
                    return
        if not self.place:
            half = self.content[: self.size // 2]
            sized = {"Upload-Complete": "?0", "Upload-Length": str(self.size)}
            answer = _ask(doors, "PUT", f"/{self.name}", common | sized, half)
            if answer.status not in (200, 201, 204):
                raise CutError(f"a creation was answered {answer.status}")
            self.place, offset = _path(answer.getheader("Location", "")), len(half)
        end = {"Upload-Complete": "?1", "Upload-Offset": str(offset), "Content-Type": "application/partial-upload"}
        answer = _ask(doors, "PATCH", self.place, common | end, self.content[offset:])
        if answer.status not in (200, 201, 204):
            raise CutError(f"the rest was answered {answer.status}")


class Inbox(Sending):
    """By the tutorials' object, to a filetransfer service that receives."""

    def send(self, doors: Doors) -> None:
        body = json.dumps({"filename": self.name, "filedata": base64.b64encode(self.content).decode()}).encode()
        try:
            with socket.create_connection((LOOPBACK, doors.inbox), PATIENCE) as connection:
                for at in range(0, len(body), BLOCK):
                    connection.sendall(body[at : at + BLOCK])
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as lines:
                    answer = json.loads(lines.readline())
        except (OSError, ValueError) as error:
            raise CutError(f"filetransfer: {error!r}") from error
        if "error" in answer:
            raise CutError(f"filetransfer: {answer['error']}")


@define
class Sftp(Sending):
    """By OpenSSH's sftp: put, and reput where something is."""

    tried: bool = False

    def send(self, doors: Doors) -> None:
        source = doors.directory / f"source-{self.name}"
        source.write_bytes(self.content)
        if not (self.tried and self._runs(doors, f"reput {source} /{self.name}")):
            self.tried = True
            if not self._runs(doors, f"put {source} /{self.name}"):
                raise CutError("sftp did not end well")

    def _runs(self, doors: Doors, line: str) -> bool:
        batch = doors.directory / f"batch-{self.name}"
        batch.write_text(line + "\n")
        options = (
            *("BatchMode=yes", "StrictHostKeyChecking=no", "LogLevel=ERROR"),
            f"UserKnownHostsFile={doors.directory / 'known_hosts'}",
            *("IdentitiesOnly=yes", f"IdentityFile={doors.directory / 'key'}", f"ConnectTimeout={PATIENCE:.0f}"),
        )
        flags = [word for one in options for word in ("-o", one)]
        command = ["sftp", "-q", *flags, "-P", str(doors.sftp), "-b", str(batch), f"deaths@{LOOPBACK}"]
        try:
            ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=2 * PATIENCE)
        except subprocess.TimeoutExpired:
            return False
        return ran.returncode == 0


def _path(location: str) -> str:
    parts = urlsplit(location)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def sendings() -> list[list[Sending]]:
    """The script: each list is sent one after the other, the lists beside one another."""
    return [
        [Put("put-small", 900), Put("put-middle", 300_000), Put("put-great", 3_000_000), Put("put-empty", 0)],
        [Tus("tus-small", 5000), Tus("tus-great", 2_000_000), Form("form", 200_000)],
        [Draft("draft-small", 3000), Draft("draft-great", 1_500_000), Inbox("inbox-great", 700_000)],
        [Inbox("inbox-small", 100), Sftp("sftp-small", 2000), Sftp("sftp-great", 4_000_000)],
    ]
