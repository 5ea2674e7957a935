"""SMTP AUTH (RFC 4954), the client's side: the mechanisms, which of them to use, and what keeps their secrets."""
