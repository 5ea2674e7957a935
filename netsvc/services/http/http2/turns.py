"""What a connection sends, and in which order: streams with something to send take turns, one frame each.

Frames of data are written here, and their octets taken from h2's windows; all else is h2's. No I/O but for the function
that takes what is to be written.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from netsvc.services.http.http2.exchange import Http2Exchange
from netsvc.services.http.http2.wire import DATA, ServerConnection, frame_head

BATCH = 1 << 16  # octets given to the transport at once


class Turns:
    """The sending side of one connection.

    :param h2: its state.
    :param write: takes octets for the peer.
    :param moved: called with each frame of data.
    :param answered: called with an exchange when the last frame of its answer has been given to `write`, or will be
        with the next flush.
    """

    def __init__(
        self,
        h2: ServerConnection,
        write: Callable[[bytes], object],
        moved: Callable[[], None],
        answered: Callable[[Http2Exchange], None],
    ) -> None:
        self._h2 = h2
        self._write = write
        self._moved = moved
        self._answered = answered
        self._waiting: deque[Http2Exchange] = deque()
        self._out: list[bytes | memoryview] = []
        self._size = 0
        self.full = False  # the transport takes no more now
        self.octets = 0  # of bodies, so far

    def send(self, *octets: bytes | memoryview) -> None:
        """Queue whole frames behind all that h2 has."""
        before = self._h2.data_to_send()
        if before:
            self._out.append(before)
            self._size += len(before)
        for one in octets:
            self._out.append(one)
            self._size += len(one)
        if self._size >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Give all that is queued to the transport."""
        octets = self._h2.data_to_send()
        if octets:
            self._out.append(octets)
        if self._out:
            whole = b"".join(self._out)
            self._out.clear()
            self._size = 0
            self._write(whole)

    def add(self, exchange: Http2Exchange) -> None:
        """An exchange may have something to send."""
        if not exchange.queued:
            exchange.queued = True
            self._waiting.append(exchange)

    def room(self, exchange: Http2Exchange) -> int:
        """Octets of data that the windows let an exchange send."""
        h2 = self._h2
        connection: int = h2.outbound_flow_control_window
        return min(connection, h2.streams[exchange.stream].outbound_flow_control_window)

    def take(self) -> None:
        """Give turns for as long as the transport and the windows allow."""
        h2, waiting = self._h2, self._waiting
        while waiting and not self.full:
            exchange = waiting.popleft()
            exchange.queued = False
            if exchange.over:
                continue
            if not exchange.waiting:
                exchange.fill()
                if exchange.over:
                    continue
            if exchange.waiting:
                room = self.room(exchange)
                if room > 0:
                    self._send_data(exchange, min(room, h2.max_outbound_frame_size, BATCH))
                elif h2.outbound_flow_control_window <= 0:
                    exchange.queued = True
                    waiting.appendleft(exchange)
                    return
                else:
                    continue  # its own window is opened, or the peer is found to be too slow
            elif exchange.ends:
                h2.end_stream(exchange.stream)
                self._answered(exchange)
            if not exchange.over and (exchange.waiting or exchange.pulls):
                self.add(exchange)

    def _send_data(self, exchange: Http2Exchange, most: int) -> None:
        h2, stream = self._h2, exchange.stream
        data = exchange.next_data(most)
        length = len(data)
        self.octets += length
        if exchange.ends:
            h2.send_data(stream, data, end_stream=True)
            self._answered(exchange)
            return
        self.send(frame_head(length, DATA, 0, stream), data)
        h2.outbound_flow_control_window -= length
        h2.streams[stream].outbound_flow_control_window -= length
        self._moved()
        exchange.moved_on()
        if exchange.ends and not exchange.over:
            h2.end_stream(stream)
            self._answered(exchange)
