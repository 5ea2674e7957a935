"""Takes files from an HTML form (RFC 7578): uploads of browsers that run no script."""
