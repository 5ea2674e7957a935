"""One confined, atomic store of files under every way in which a file moves: JSON, SFTP, HTTP, downloads.

A path is resolved beneath the root by the kernel. What is written goes to a hidden partial file, is digested as it
comes, synced, verified, renamed, and its directory synced before anybody is told that it is there; nothing is ever
changed in place, so a reader keeps what he opened. All of it blocks and is called in threads; :mod:`.threads` does that
for a connection.
"""
