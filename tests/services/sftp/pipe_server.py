"""An SftpServer on standard input and output, as ``sftp -D`` starts one: real clients without SSH.

``python -m tests.services.sftp.pipe_server ROOT [ACCESS]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO
from twisted.internet.threads import deferToThread
from twisted.python.log import startLoggingWithObserver, textFromEventDict

from netsvc.filestore.access import Access
from netsvc.filestore.store import FileStore
from netsvc.filestore.terms import Terms
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.server import SftpServer

ROOM = 1 << 20


class Pipe(Protocol):
    """The channel, too."""

    def __init__(self, store: FileStore) -> None:
        self._server = SftpServer(store, self, Account("someone", "a pipe"), in_thread=deferToThread, max_handles=100)
        self._room = ROOM

    def connectionMade(self):
        self.transport.registerProducer(self, True)

    def pauseProducing(self):
        self._room = 0

    def resumeProducing(self):
        self._room = ROOM
        self._server.room_grew()

    def stopProducing(self):
        pass

    def dataReceived(self, data):
        self._server.received(data)

    def connectionLost(self, reason=None):
        self._server.closed().addBoth(lambda _: reactor.callLater(0, _stop))

    def write(self, data):
        self.transport.write(data)

    def room(self):
        return self._room

    def pause(self):
        self.transport.pauseProducing()

    def resume(self):
        self.transport.resumeProducing()

    def end(self, status):
        self.transport.loseConnection()


def _stop():
    if reactor.running:
        reactor.stop()


def main(root: str, access: str = "full") -> None:
    """Serve one session, then end."""

    def tell(event):
        text = textFromEventDict(event)
        if event.get("isError") or event.get("event"):
            print(text, file=sys.stderr)

    startLoggingWithObserver(tell, setStdout=False)
    StandardIO(Pipe(FileStore(Path(root), Terms(access=Access(access)))))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
