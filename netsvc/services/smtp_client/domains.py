"""Domain names in ASCII. No I/O, no Twisted; the tables of IDNA are loaded only for a name that needs them."""

from __future__ import annotations


def a_labels(domain: str) -> str:
    """The domain with its international labels as A-labels, IDNA 2008 (RFC 5891 4) after the mapping of UTS 46.

    Not Python's own codec: it is IDNA 2003, which makes another name, and perhaps another owner's, of straße.example.

    :raises ValueError: it cannot be written so.
    """
    if domain.isascii():
        return domain
    import idna  # noqa: PLC0415 - netsvc mail send must start at once

    return idna.encode(domain, uts46=True).decode("ascii")
