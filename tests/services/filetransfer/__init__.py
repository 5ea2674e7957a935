"""Tests of filetransfer."""
