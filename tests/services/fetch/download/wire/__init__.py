"""Tests of the wire formats of the download engine."""
