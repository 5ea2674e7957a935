"""Which octets of a file have come, when they come in any order. No I/O."""

from __future__ import annotations

from bisect import bisect_left, insort

from netsvc.filestore.errors import NotPermittedError

MOST = 1 << 16  # pieces apart from one another; a peer that writes more of them has no file in mind


class Pieces:
    """A set of octets.

    :param whole: so many from the beginning on are there already.
    """

    def __init__(self, whole: int = 0) -> None:
        self.whole = whole
        self._apart: list[tuple[int, int]] = []  # (start, stop) beyond `whole`, in order, none touching another

    def check(self, start: int) -> None:
        """Whether octets may come there.

        :raises NotPermittedError: they lie in too many pieces already.
        """
        if start > self.whole and len(self._apart) >= MOST:
            raise NotPermittedError("the file is written in too many pieces")

    def add(self, start: int, stop: int) -> None:
        """Octets have come."""
        if start <= self.whole and not self._apart:  # nearly always
            self.whole = max(self.whole, stop)
            return
        if start > self.whole:
            self._join(start, stop)
            return
        self.whole = max(self.whole, stop)
        while self._apart and self._apart[0][0] <= self.whole:
            self.whole = max(self.whole, self._apart.pop(0)[1])

    def cut(self, length: int) -> None:
        """What stands behind so many octets is gone."""
        self.whole = min(self.whole, length)
        self._apart = [(start, min(stop, length)) for start, stop in self._apart if start < length]

    def _join(self, start: int, stop: int) -> None:
        at = bisect_left(self._apart, (start, start))
        if at and self._apart[at - 1][1] >= start:
            at -= 1
            start = self._apart[at][0]
        until = at
        while until < len(self._apart) and self._apart[until][0] <= stop:
            stop = max(stop, self._apart[until][1])
            until += 1
        del self._apart[at:until]
        insort(self._apart, (start, stop))
