"""Scripts that look at everything that a script can look at, and what is asked of each.

`CASES` is the corpus; `play` asks a daemon for all of it and gathers what can be seen from outside. See case.py.
"""

from __future__ import annotations

from tests.live.cgi_corpus import concurrency, endings, environment, imports, leavings, library, streams

CASES = (
    *environment.CASES,
    *streams.CASES,
    *endings.CASES,
    *concurrency.CASES,
    *imports.CASES,
    *leavings.CASES,
    *library.CASES,
)
