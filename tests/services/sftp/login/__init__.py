"""Tests of users, keys and passwords."""
