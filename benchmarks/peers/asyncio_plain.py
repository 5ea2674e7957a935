"""Plain asyncio, or uvloop: echo and daytime as Protocols.

python asyncio_plain.py asyncio|uvloop ECHO_PORT DAYTIME_PORT
"""

import asyncio
import sys
import time


class Echo(asyncio.Protocol):
    """Writes back what comes; reads no more while the peer does not read."""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()


class Daytime(asyncio.Protocol):
    """One line, then the end."""

    def connection_made(self, transport):
        transport.write(time.strftime("%A, %B %d, %Y %H:%M:%S-UTC\r\n", time.gmtime()).encode())
        transport.close()


async def serve(echo_port, daytime_port):
    """Listen on loopback for ever."""
    loop = asyncio.get_running_loop()
    echo = await loop.create_server(Echo, "127.0.0.1", echo_port, backlog=1024)
    await loop.create_server(Daytime, "127.0.0.1", daytime_port, backlog=1024)
    await echo.serve_forever()


def main():
    """Run on the loop that the command line names."""
    if sys.argv[1] == "uvloop":
        import uvloop

        run = uvloop.run
    else:
        run = asyncio.run
    run(serve(int(sys.argv[2]), int(sys.argv[3])))


main()
