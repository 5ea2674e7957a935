"""Tests of the qotd service."""
