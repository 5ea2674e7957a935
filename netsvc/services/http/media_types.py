"""Media types by file name: Python's own table without the system's, so that an answer is the same on every machine.

Text has a charset; what is not known is application/octet-stream.
"""

from __future__ import annotations

import mimetypes
from functools import lru_cache

UNKNOWN = b"application/octet-stream"

# What Python's table lacks or has otherwise in some of the versions that netsvc runs on.
_ADDED = {
    ".7z": "application/x-7z-compressed",
    ".apk": "application/vnd.android.package-archive",
    ".atom": "application/atom+xml",
    ".avif": "image/avif",
    ".conf": "text/plain",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".ico": "image/vnd.microsoft.icon",
    ".ini": "text/plain",
    ".iso": "application/octet-stream",
    ".js": "text/javascript",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".log": "text/plain",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/opus",
    ".otf": "font/otf",
    ".rss": "application/rss+xml",
    ".rst": "text/x-rst",
    ".toml": "application/toml",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xml": "text/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
_COMPRESSED = {  # a file is what its last suffix says: no Content-Encoding that unpacks a download behind one's back
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
    "br": "application/octet-stream",
    "compress": "application/x-compress",
}
_NOT_MEDIA = frozenset(("text/x-python", "application/x-python-code"))  # source is text, shown as such
_TEXT = frozenset(
    (
        "application/json",
        "application/manifest+json",
        "application/xml",
        "image/svg+xml",
        "application/yaml",
        "application/toml",
    )
)

_table = mimetypes.MimeTypes(filenames=())
for _suffix, _type in _ADDED.items():
    _table.add_type(_type, _suffix)


@lru_cache(maxsize=1024)
def media_type(name: bytes) -> bytes:
    """The Content-Type of a file, by the last name of its path."""
    found, encoding = _table.guess_type("x" + name.decode("latin-1").replace("%", "").lower(), strict=True)
    if encoding is not None:
        return _COMPRESSED.get(encoding, "application/octet-stream").encode("ascii")
    if found is None:
        return UNKNOWN
    if found in _NOT_MEDIA:
        found = "text/plain"
    if found.startswith("text/") or found in _TEXT:
        return f"{found}; charset=utf-8".encode("ascii")
    return found.encode("ascii")
