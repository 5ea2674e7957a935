"""Tests of the kind fetch."""
