"""Tests of netsvc; the folders mirror the package."""
