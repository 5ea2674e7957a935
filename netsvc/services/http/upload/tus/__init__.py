"""Resumable uploads by tus 1.0: core, creation (with upload, or deferred length), checksum, expiration, termination."""
