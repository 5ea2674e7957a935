"""Resolves a request path to what stands there, beneath one root. No network, no Twisted.

Decode once, then resolve dots, then route. The answer is a decision, made from open descriptors, so that what was
checked is what is sent.
"""

from __future__ import annotations

from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Script:
    """A script in a CGI directory.

    :param filename: the script, absolute.
    :param script_name: the decoded URL path of the script ("/cgi-bin/hello.py").
    :param path_info: what stands behind it, decoded ("/a/b"); "" when there is nothing.
    :param docroot: the root that it was found beneath, absolute.
    """

    filename: Path
    script_name: str
    path_info: str
    docroot: Path
