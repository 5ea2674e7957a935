"""Tests of the warm interpreter."""
