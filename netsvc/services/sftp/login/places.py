"""LoginPlaces: how many connections may be without a login at once, as sshd's MaxStartups. No I/O.

What somebody costs who is not known yet, a key exchange above all, is bounded by them; and whoever has only one address
cannot take them all.
"""

from __future__ import annotations


class LoginPlaces:
    """The places of one service.

    :param most: in all, at least 2; half of them for one source.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = most // 2
        self._in_all = 0
        self._by_source: dict[bytes, int] = {}

    def take(self, source: bytes) -> bool:
        """Take a place; False when there is none.

        :param source: as :func:`netsvc.net.addresses.prefix` has it.
        """
        taken = self._by_source.get(source, 0)
        if self._in_all >= self._most or taken >= self._share:
            return False
        self._by_source[source] = taken + 1
        self._in_all += 1
        return True

    def give_back(self, source: bytes) -> None:
        """Give back a place that was taken.

        :raises KeyError: none was.
        """
        left = self._by_source[source] - 1
        if left:
            self._by_source[source] = left
        else:
            del self._by_source[source]
        self._in_all -= 1
