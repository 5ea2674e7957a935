"""The octets of a message on their way in, to its final dot or as a chunk (RFC 5321 4.5.2, RFC 3030). No I/O."""

from __future__ import annotations

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.listener.commands import Chunk, CommandError
from netsvc.services.smtp_client.listener.envelope import Transaction
from netsvc.services.smtp_client.listener.octets import BareLineEndError, DotReader, LineReader


class Dotted:
    """What follows DATA.

    :param largest: octets that a message may have.
    """

    def __init__(self, transaction: Transaction, largest: int) -> None:
        self._transaction = transaction
        self._largest = largest
        self._reader = DotReader(largest)

    @property
    def held(self) -> int:
        """Octets in memory."""
        return self._reader.held

    def drop(self) -> None:
        """Keep nothing of it, only look for its end."""
        self._reader.drop()

    def read(self, lines: LineReader) -> bool:
        """Take what has arrived; whether the end is there. What comes behind the end stays.

        :raises BareLineEndError: something like an end of the message is none.
        """
        rest = self._reader.feed(lines.take())
        if self._reader.ambiguous:
            raise BareLineEndError
        if rest is None:
            return False
        lines.feed(rest)
        self._transaction.append(self._reader.message(), is_canonical=self._reader.is_canonical)
        if self._reader.too_large:
            self._transaction.drop(Refusal("5.3.4", f"the message is larger than {self._largest} octets"))
        return True


class Chunked:
    """What follows BDAT.

    :param transaction: None: the octets go nowhere, since BDAT may not be obeyed.
    :ivar fault: why not; it is said when the octets have passed, RFC 3030 2.
    """

    held = 0  # the transaction has them

    def __init__(self, chunk: Chunk, transaction: Transaction | None, fault: CommandError | None = None) -> None:
        self.octets = chunk.octets
        self.is_last = chunk.is_last
        self.fault = fault
        self._transaction = transaction
        self._left = chunk.octets

    def drop(self) -> None:
        """Nothing is kept here."""

    def read(self, lines: LineReader) -> bool:
        """Take what has arrived; whether the chunk is whole. What comes behind it stays."""
        octets = lines.take()
        used, rest = octets[: self._left], octets[self._left :]
        lines.feed(rest)
        self._left -= len(used)
        if self._transaction is not None:
            self._transaction.append(used)
        return not self._left
