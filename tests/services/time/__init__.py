"""Tests of the time service."""
