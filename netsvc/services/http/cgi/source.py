"""Answers with the text of a file in a CGI directory that may not be executed, where `cgi_source = text`."""

from __future__ import annotations

import os
import stat
from typing import Any

from twisted.logger import Logger

log = Logger()

# Whatever it is, no browser shall take it for a page.
_HEADERS = ((b"Content-Type", b"text/plain; charset=utf-8"), (b"X-Content-Type-Options", b"nosniff"))
_ANY_EXECUTE = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


def show_source(exchange: Any, filename: os.PathLike[str]) -> None:
    """Answer an IExchange with a file. Never with one that anybody may execute."""
    if exchange.head.method not in ("GET", "HEAD"):
        exchange.refuse(405, headers=((b"Allow", b"GET, HEAD"),))
        return
    try:
        descriptor = os.open(filename, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        exchange.refuse(404)
        return
    except OSError:
        exchange.refuse(403)
        return
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_mode & _ANY_EXECUTE:  # it was made a script a moment ago
        os.close(descriptor)
        exchange.refuse(403)
        return
    exchange.begin(200, _HEADERS, length=found.st_size)

    def over(_: object) -> None:
        os.close(descriptor)
        exchange.finish()

    exchange.send_file(descriptor, 0, found.st_size).addBoth(over)
