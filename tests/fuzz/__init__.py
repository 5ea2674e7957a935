"""Fuzzers of every parser that reads what peers and scripts send: ``make fuzz SECONDS=60``."""
