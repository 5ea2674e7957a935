"""Tests of the SSH side."""
