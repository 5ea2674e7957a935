"""Checks running services from the outside. Standard library and plain sockets only; no Twisted."""
