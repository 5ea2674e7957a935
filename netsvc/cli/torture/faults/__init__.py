"""The catalogue of faults: importing it makes it whole."""

from __future__ import annotations

from netsvc.cli.torture.faults import connect, content, data, envelope, hello, login
from netsvc.cli.torture.terms import CATALOGUE, Fault

__all__ = ["connect", "content", "data", "envelope", "hello", "login"]

FAULTS: tuple[Fault, ...] = tuple(CATALOGUE[number] for number in sorted(CATALOGUE))
