"""Tests of the greeter service."""
