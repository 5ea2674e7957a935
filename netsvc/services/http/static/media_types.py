"""Media types by file name: Python's own table without the system's, so that an answer is the same on every machine.

Text has a charset; what is not known is application/octet-stream.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Mapping
from pathlib import Path

from netsvc.config.options import Context, ValueType
from netsvc.errors import BadValue
from netsvc.services.http.static.cache_control import lines_of

UNKNOWN = b"application/octet-stream"

# What Python's table lacks or has otherwise in some of the versions that netsvc runs on; names of the IANA registry
# where there are some.
_ADDED = {
    ".3gp": "video/3gpp",
    ".7z": "application/x-7z-compressed",
    ".aac": "audio/aac",
    ".apk": "application/vnd.android.package-archive",
    ".apng": "image/apng",
    ".atom": "application/atom+xml",
    ".avif": "image/avif",
    ".cbor": "application/cbor",
    ".cff": "text/plain",
    ".conf": "text/plain",
    ".crt": "application/x-x509-ca-cert",
    ".csv": "text/csv",
    ".cue": "text/plain",
    ".deb": "application/vnd.debian.binary-package",
    ".diff": "text/x-diff",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".dxf": "image/vnd.dxf",
    ".eot": "application/vnd.ms-fontobject",
    ".epub": "application/epub+zip",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".gpx": "application/gpx+xml",
    ".gv": "text/vnd.graphviz",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".ico": "image/vnd.microsoft.icon",
    ".ics": "text/calendar",
    ".ini": "text/plain",
    ".ipynb": "application/x-ipynb+json",
    ".iso": "application/octet-stream",
    ".jar": "application/java-archive",
    ".jpe": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".js": "text/javascript",
    ".json": "application/json",
    ".json5": "application/json5",
    ".jsonl": "application/jsonl",
    ".jsonld": "application/ld+json",
    ".jxl": "image/jxl",
    ".kml": "application/vnd.google-earth.kml+xml",
    ".kmz": "application/vnd.google-earth.kmz",
    ".lock": "text/plain",
    ".log": "text/plain",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".map": "application/json",
    ".markdown": "text/markdown",
    ".md": "text/markdown",
    ".mid": "audio/midi",
    ".midi": "audio/midi",
    ".mjs": "text/javascript",
    ".mka": "audio/matroska",
    ".mkv": "video/matroska",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".mpd": "application/dash+xml",
    ".ndjson": "application/x-ndjson",
    ".odg": "application/vnd.oasis.opendocument.graphics",
    ".odp": "application/vnd.oasis.opendocument.presentation",
    ".ods": "application/vnd.oasis.opendocument.spreadsheet",
    ".odt": "application/vnd.oasis.opendocument.text",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/opus",
    ".otf": "font/otf",
    ".patch": "text/x-diff",
    ".pdf": "application/pdf",
    ".pem": "application/x-pem-file",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".psd": "image/vnd.adobe.photoshop",
    ".rar": "application/vnd.rar",
    ".rpm": "application/x-rpm",
    ".rss": "application/rss+xml",
    ".rst": "text/x-rst",
    ".rtf": "application/rtf",
    ".srt": "application/x-subrip",
    ".stl": "model/stl",
    ".svg": "image/svg+xml",
    ".tex": "text/x-tex",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".toml": "application/toml",
    ".torrent": "application/x-bittorrent",
    ".ts": "video/mp2t",
    ".ttc": "font/collection",
    ".ttf": "font/ttf",
    ".vcf": "text/vcard",
    ".vtt": "text/vtt",
    ".wasm": "application/wasm",
    ".wav": "audio/wav",
    ".weba": "audio/webm",
    ".webm": "video/webm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xhtml": "application/xhtml+xml",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xml": "text/xml",
    ".xsl": "text/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    ".zip": "application/zip",
}
# A file is what its last suffix says: no Content-Encoding that unpacks a download behind one's back.
_PACKED = {
    ".gz": "application/gzip",
    ".tgz": "application/gzip",
    ".bz2": "application/x-bzip2",
    ".tbz2": "application/x-bzip2",
    ".xz": "application/x-xz",
    ".txz": "application/x-xz",
    ".zst": "application/zstd",
    ".tzst": "application/zstd",
    ".svgz": "application/gzip",
    ".lz": "application/x-lzip",
    ".lz4": "application/x-lz4",
    ".br": "application/octet-stream",
    ".z": "application/x-compress",
}
_NOT_MEDIA = frozenset(("text/x-python", "application/x-python-code"))  # source is text, shown as such
_SOURCES = (  # of programs: text, for reading
    ".bat .c .cc .cfg .clj .cpp .cs .cxx .dart .el .env .ex .f90 .fish .go .gradle .h .hh .hpp .hs .java .jl .kt .lisp "
    ".lua .m4 .mk .ml .nix .pas .php .pl .pm .proto .ps1 .py .pyi .r .rb .rs .scala .scm .service .sh .sql .swift .tcl "
    ".tsx .jsx .vim .vue .zig .zsh"
)
_TEXT = frozenset(
    (
        "application/json",
        "application/manifest+json",
        "application/xml",
        "image/svg+xml",
        "application/yaml",
        "application/toml",
        "application/json5",
        "application/jsonl",
        "application/x-ndjson",
        "application/x-subrip",
    )
)
_SHRINKS = frozenset(  # what gzip makes much smaller, beside text and what ends with +json or +xml
    (
        "application/javascript",
        "application/vnd.apple.mpegurl",
        "application/vnd.ms-fontobject",
        "application/wasm",
        "application/x-pem-file",
        "font/otf",
        "font/ttf",
        "image/vnd.microsoft.icon",
        "model/stl",
    )
)

# type = restricted-name "/" restricted-name (RFC 6838 4.2), with parameters
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_TYPE = re.compile(rf'{_NAME}/{_NAME}(?:[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-\[\]-~]*"))*')
_SUFFIX = re.compile(r"\.[^\s./\x00]{1,64}")


def type_rules() -> ValueType[tuple[tuple[str, str], ...]]:
    """``.SUFFIX TYPE``, one a line."""

    def parse(text: str, _: Context) -> tuple[tuple[str, str], ...]:
        found: dict[str, str] = {}
        for at, line in lines_of(text):
            suffix, *rest = line.split(None, 1)
            suffix, kind = suffix.lower(), rest[0] if rest else ""
            if not _SUFFIX.fullmatch(suffix):
                raise BadValue(f"{suffix!r} is not a suffix, such as .foo", at=at)
            if not _TYPE.fullmatch(kind):
                raise BadValue(f"{kind!r} is not a media type, such as text/x-foo", at=at)
            if suffix in found:
                raise BadValue(f"{suffix} is given twice", at=at)
            found[suffix] = kind
        return tuple(found.items())

    def show(value: tuple[tuple[str, str], ...]) -> str:
        return "\n".join(f"{suffix} {kind}" for suffix, kind in value)

    return ValueType(name="types", bounds=".SUFFIX TYPE, one a line", parse=parse, show=show, multiline=True)


def _own_table() -> dict[str, str]:
    table = dict(mimetypes.MimeTypes(filenames=()).types_map[True])
    table.update(dict.fromkeys(_SOURCES.split(), "text/plain"))
    table.update(_ADDED)
    table.update(_PACKED)
    for suffix, kind in table.items():
        if kind in _NOT_MEDIA:
            table[suffix] = "text/plain"
    return table


_OWN = _own_table()


def read_types_file(path: Path) -> dict[str, str]:
    """Suffix to type, from a file in the format of mime.types: a type and its suffixes on each line.

    :raises OSError: it cannot be read.
    """
    found: dict[str, str] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        kind, *suffixes = line.partition("#")[0].split() or [""]
        if _TYPE.fullmatch(kind):
            for suffix in suffixes:
                found.setdefault(f".{suffix.lower().lstrip('.')}", kind)
    return found


class MediaTypes:
    """The Content-Type of files by name.

    :param added: suffix to type, in place of netsvc's own; a type that has parameters is sent as it is.
    :param others: suffix to type where neither `added` nor netsvc knows one.
    """

    def __init__(self, added: Mapping[str, str] | None = None, others: Mapping[str, str] | None = None) -> None:
        merged = {**(others or {}), **_OWN, **(added or {})}
        self._by_suffix = {suffix: _with_charset(kind) for suffix, kind in merged.items()}

    def of(self, name: bytes) -> bytes:
        """The type of a file.

        :param name: the last name of its path.
        """
        stem, dot, suffix = name.rpartition(b".")
        if not dot or not stem:
            return UNKNOWN
        return self._by_suffix.get("." + suffix.decode("utf-8", "replace").lower(), UNKNOWN)


def _with_charset(kind: str) -> bytes:
    if (kind.startswith("text/") or kind in _TEXT) and ";" not in kind:
        kind += "; charset=utf-8"
    return kind.encode("ascii")


def shrinks(kind: bytes) -> bool:
    """Whether what has this type is text of some sort, that compression makes much smaller."""
    name = kind.partition(b";")[0].rstrip().lower().decode("ascii")
    return name.startswith("text/") or name.endswith(("+json", "+xml")) or name in _TEXT or name in _SHRINKS


_DEFAULT = MediaTypes()


def media_type(name: bytes) -> bytes:
    """The Content-Type of a file by netsvc's own table.

    :param name: the last name of its path.
    """
    return _DEFAULT.of(name)
