#!/usr/bin/env python3
"""Answers a form, as the tutorials do: FieldStorage for GET and POST."""

import cgi
import html

form = cgi.FieldStorage()


def show(field):
    """One value of a field: text, or the name and the size of a file."""
    if field.filename:
        return f"{field.filename}, {len(field.file.read())} octets"
    return field.value


rows = "\n".join(
    f"<tr><th>{html.escape(field.name or '')}</th><td>{html.escape(show(field))}</td></tr>" for field in form.list or []
)
name = form.getfirst("name", "") or "stranger"

print("Content-Type: text/html; charset=utf-8")
print()
print(f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>form.py</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<h1>Hello, {html.escape(name)}!</h1>
<section>
<table>
{rows}
</table>
</section>
<p><a href="/">Back</a></p>
</body>
</html>""")
