"""Plain Twisted: the echo and daytime of its tutorials, ``transport.write`` and nothing else.

python twisted_plain.py ECHO_PORT DAYTIME_PORT
"""

import sys
import time

from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import reactor  # noqa: E402
from twisted.internet.protocol import Factory, Protocol  # noqa: E402


class Echo(Protocol):
    """Writes back what comes."""

    def dataReceived(self, data):
        self.transport.write(data)


class Daytime(Protocol):
    """One line, then the end."""

    def connectionMade(self):
        self.transport.write(time.strftime("%A, %B %d, %Y %H:%M:%S-UTC\r\n", time.gmtime()).encode())
        self.transport.loseConnection()


def listen(protocol, port):
    """Listen on loopback."""
    factory = Factory.forProtocol(protocol)
    factory.noisy = False
    reactor.listenTCP(port, factory, backlog=1024, interface="127.0.0.1")


listen(Echo, int(sys.argv[1]))
listen(Daytime, int(sys.argv[2]))
reactor.run()
