"""Takes files over HTTP: PUT, DELETE, MKCOL, and where protocols of resumable uploads plug in."""
