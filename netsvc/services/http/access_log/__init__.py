"""The record of requests."""
