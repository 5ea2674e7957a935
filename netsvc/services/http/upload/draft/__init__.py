"""Resumable uploads by draft-ietf-httpbis-resumable-upload."""
