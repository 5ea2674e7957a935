"""The standard library's http.server, threaded, with HTTP/1.1 and no log.

python http_server.py PORT DIRECTORY
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Quiet(SimpleHTTPRequestHandler):
    """Keeps connections, says nothing."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """With a backlog for more than five."""

    request_queue_size = 1024


Server(("127.0.0.1", int(sys.argv[1])), partial(Quiet, directory=sys.argv[2])).serve_forever()
