"""Tests of get, put, ls and rm."""
