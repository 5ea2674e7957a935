"""Offers: what a person may change in a directory from the page that lists it. No I/O."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Offers:
    """What the page lets a person try; the server decides when it is asked.

    Files may be put there, by tus 1.0 at the address of the directory or with a form.

    :param remove: names may be removed, with DELETE.
    :param make_directory: directories may be made, with MKCOL.
    :param chunk: the longest body that a request may have, octets; longer files go up in several.
    """

    remove: bool = False
    make_directory: bool = False
    chunk: int
