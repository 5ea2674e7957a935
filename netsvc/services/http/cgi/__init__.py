"""CGI/1.1 (RFC 3875): runs scripts for requests. Nothing here parses HTTP or resolves a path."""
