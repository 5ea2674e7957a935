"""The site that all contestants serve: files, a directory of 10,000, scripts. The same octets for everybody."""

from __future__ import annotations

import datetime
import os
import shutil
import sys
from pathlib import Path

SMALL = 1024  # octets
LARGE = 200_000_000  # octets
ENTRIES = 10_000
BLOCK = 1 << 20

SHELL = """\
#!/bin/sh
echo 'Content-Type: text/plain'
echo
echo 'Hello from a shell script.'
"""
PAGE = """\
#!{python}
import os

print("Content-Type: text/html; charset=utf-8")
print()
print("<!DOCTYPE html><title>A page</title><h1>Hello</h1><table>")
for name, value in sorted(os.environ.items()):
    print(f"<tr><th>{{name}}</th><td>{{value}}</td></tr>")
print("</table>")
"""
FORM = """\
#!{python}
import cgi
import html

form = cgi.FieldStorage()
print("Content-Type: text/html; charset=utf-8")
print()
print("<!DOCTYPE html><title>A form</title>")
print("<p>Hello, " + html.escape(form.getfirst("name", "nobody")) + "!</p>")
print("<p>You said: " + html.escape(form.getfirst("comment", "")) + "</p>")
"""
COUNT = """\
#!/bin/sh
echo 'Content-Type: text/plain'
echo
exec wc -c
"""


def interpreter() -> str:
    """The Python of the scripts: the system's, which every server's user may run, or else this one."""
    return "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable


class Site:
    """The site, in a directory that every user may read.

    :param directory: an existing directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.chmod(0o755)
        self.root = directory / "site"
        scripts = self.root / "cgi-bin"
        scripts.mkdir(parents=True)
        (self.root / "small.txt").write_bytes(b"0123456789abcdef" * (SMALL // 16))
        with (self.root / "large.bin").open("wb") as out:
            block = os.urandom(BLOCK)
            for left in range(LARGE, 0, -BLOCK):
                out.write(block[:left])
        entries = self.root / "entries"
        entries.mkdir()
        for number in range(ENTRIES):
            (entries / f"entry-{number:05d}.txt").write_bytes(b"x" * (number % 100))
        for name, text in (("hello.sh", SHELL), ("page.py", PAGE), ("form.py", FORM), ("count.sh", COUNT)):
            script = scripts / name
            script.write_text(text.format(python=interpreter()) if name.endswith(".py") else text)
            script.chmod(0o755)
        for path in (self.root, scripts, entries):
            path.chmod(0o755)
        _certificate(directory)

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _certificate(directory: Path) -> None:
    """One certificate for all: P-256, as most sites have today."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=7))
        .sign(key, hashes.SHA256())
    )
    (directory / "server.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / "server.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
