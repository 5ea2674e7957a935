"""Tests of the kind sftp."""
