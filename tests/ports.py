"""Ports for programs that must be told one: free, and never given by the kernel to anybody who asks for any."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

_FIRST = 10_000


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has, over TCP and UDP.

    A port that the kernel chose and that was given back is soon somebody else's, where many programs start at once.
    """
    below = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    dice = random.Random(os.urandom(8))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = dice.randrange(_FIRST, below)
        with socket.socket(family) as stream, socket.socket(family, socket.SOCK_DGRAM) as datagrams:
            try:
                stream.bind((host, port))
                datagrams.bind((host, port))
            except OSError:
                continue
            return port
