"""HTTP/2 (RFC 9113) over TLS: the same exchanges for the same routes."""
