"""What HTTP/1.1 looks like to a client that only downloads: heads, bodies, fields. No I/O, no Twisted."""
