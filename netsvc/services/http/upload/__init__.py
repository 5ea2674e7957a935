"""Takes files over HTTP: PUT, DELETE, MKCOL, and where other protocols of uploads plug in: tus, the draft, forms."""
