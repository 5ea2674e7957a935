"""Tests of the chargen service."""
