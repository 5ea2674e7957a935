"""Tests of the discard service."""
