"""Tests of the daytime service."""
