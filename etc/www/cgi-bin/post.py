#!/usr/bin/env python3
"""Counts and digests whatever is posted, in constant memory: try it with a large file."""

import hashlib
import os
import sys

if os.environ["REQUEST_METHOD"] != "POST":
    print("Status: 405 Method Not Allowed")
    print("Allow: POST")
    print("Content-Type: text/plain; charset=utf-8")
    print()
    print("Post something: curl --data-binary @FILE ...")
    sys.exit()

digest = hashlib.sha256()
octets = 0
while block := sys.stdin.buffer.read(1 << 16):
    digest.update(block)
    octets += len(block)

print("Content-Type: text/plain; charset=utf-8")
print()
print("octets:", octets)
print("sha256:", digest.hexdigest())
