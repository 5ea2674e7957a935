"""Notices of what became of mail: failed, delayed, delivered (RFC 3461, 3464). Pure, but for where dead letters lie."""
