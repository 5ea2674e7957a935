#!/usr/bin/env python3
"""Shows what a script is told: its environment."""

import html
import os
import sys

rows = "\n".join(
    f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in sorted(os.environ.items())
)
page = f"""Content-Type: text/html; charset=utf-8
Cache-Control: no-store

<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>env.py</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<h1>What a script is told</h1>
<section>
<table>
{rows}
</table>
</section>
<p><a href="/">Back</a></p>
</body>
</html>
"""
# Octets that are no text in UTF-8 came from the peer and go back as question marks.
sys.stdout.buffer.write(page.encode("utf-8", "replace"))
