"""What the operator hears of a disk that is full or fails, and of a quota that is used up."""

from __future__ import annotations

import errno
import os
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import DeferredSemaphore, maybeDeferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from netsvc.filestore.errors import BrokenError
from netsvc.filestore.stored import StoredFile
from netsvc.filestore.terms import Terms
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.door import Door
from netsvc.services.sftp.sums import Command
from tests.services.sftp.session import (
    CLOSE,
    CREAT,
    FAILURE,
    MKDIR,
    OK,
    TRUNC,
    WRITE,
    FakeChannel,
    Session,
    SessionTestCase,
    Threads,
    W,
    text,
    u32,
    u64,
)


class TroubleTests(SessionTestCase):
    def setUp(self) -> None:
        self.events: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.events.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.events.append)

    def told(self) -> list[tuple[LogLevel, str]]:
        """Level and text of what was said of troubles, in order."""
        refused = [one for one in self.events if one.get("event") == "sftp-refused"]
        return [(one["log_level"], formatEvent(one)) for one in refused]

    def refused_put(self, session: Session, name: str, data: bytes = b"octets") -> None:
        handle = session.open(name, W | CREAT | TRUNC)
        session.write(handle, 0, data)
        assert session.close(handle) == FAILURE

    def failing(self, call: str, number: int) -> Any:
        return patch(f"os.{call}", side_effect=OSError(number, os.strerror(number)))

    def test_quota(self) -> None:
        """A quota that is used up is a warning that names user, peer and file: one, however many files are sent."""
        session = self.session(Terms(quota=10))
        for name in ("a", "b", "c"):
            self.refused_put(session, name, b"x" * 11)
        text = "a: the quota of 10 octets is used up (ada from a peer)"
        assert self.told() == [(LogLevel.warn, text)]

    def test_full_and_broken(self) -> None:
        """A full disk is an error, and so is one that fails: one each, however many files are sent."""
        session = self.session()
        for name in ("a", "b"):
            with self.failing("pwritev", errno.ENOSPC):
                self.refused_put(session, name)
            with self.failing("fsync", errno.EIO):
                self.refused_put(session, name)
        assert self.told() == [
            (LogLevel.error, "a: no space left (ada from a peer)"),
            (LogLevel.error, "a: the disk failed (Input/output error) (ada from a peer)"),
        ]

    def test_quota_of_the_daemon(self) -> None:
        """A quota that the system has for the daemon is no account's affair: an error, as a full disk."""
        session = self.session()
        with self.failing("pwritev", errno.EDQUOT):
            self.refused_put(session, "a")
        ((level, _),) = self.told()
        assert level is LogLevel.error

    def test_nobody_asks(self) -> None:
        """A peer that is gone before it hears of the full disk leaves a line all the same."""
        threads = Threads()
        session = self.session(in_thread=threads)
        session.send(3, text("a"), u32(W | CREAT | TRUNC), u32(0))
        threads.work()
        session.send(WRITE, text(u32(0)), u64(0), text(b"octets"))
        session.server.closed()
        with self.failing("pwritev", errno.ENOSPC):
            threads.work()
        assert self.told() == [(LogLevel.error, "a: no space left (ada from a peer)")]

    def test_without_a_file(self) -> None:
        """So do a directory that cannot be made, and a file that cannot be read, by READ or for its sum."""
        session = self.session()
        with self.failing("mkdir", errno.ENOSPC):
            assert session.status(MKDIR, text("/d"), u32(0)) == FAILURE
        assert session.put("a", b"octets") == OK
        with patch.object(StoredFile, "read", side_effect=BrokenError("the disk failed")):
            assert session.read(session.open("a"), 0, 10) == FAILURE
            account, channel = Account("eve", "elsewhere"), FakeChannel()
            door = Door(session.store, "eve", lambda: 0.0)
            Command(door, channel, b"md5sum a", account, maybeDeferred, turns=DeferredSemaphore(1)).start()
        assert channel.ended == 1
        assert [one for _, one in self.told()] == [
            "d: no space left (ada from a peer)",
            "a: the disk failed (ada from a peer)",
            "a: the disk failed (eve from elsewhere)",
        ]

    def test_what_is_no_trouble(self) -> None:
        """What a client does wrong is answered, and not logged: a name that is taken, none, a file that is too long."""
        session = self.session(Terms(max_file_size=3))
        self.refused_put(session, "a")
        assert session.status(CLOSE, text("none")) == FAILURE
        session.size("none")
        assert self.told() == []
