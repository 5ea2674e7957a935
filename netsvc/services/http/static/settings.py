"""The options of files, listings and pages, which every scope of an http service has. Imports no Twisted."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.services.http.static.cache_control import cache_rules
from netsvc.services.http.static.media_types import type_rules


@frozen(kw_only=True, slots=False)  # so that a class can inherit it beside others
class StaticSettings:
    """How files, listings and pages are sent."""

    cache_control: tuple[tuple[str, str], ...] = option(
        cache_rules(),
        default=(),
        help="Cache-Control of files, PATTERN VALUE a line, the first that fits: *.css fits a name, /a/* a whole path.",
    )
    types: tuple[tuple[str, str], ...] = option(
        type_rules(),
        default=(),
        help="Media types added to the built-in ones, one a line, such as .foo text/x-foo.",
    )
    types_file: Path | None = option(
        values.path(),
        default=None,
        help="A mime.types file whose types are added for suffixes that netsvc does not know.",
    )
    precompressed: bool = option(
        values.boolean(),
        default=True,
        help="Send FILE.br, FILE.zst or FILE.gz to peers that take it, where it is there and no older than FILE.",
    )
    compress: bool = option(
        values.boolean(), default=True, help="Compress text files with gzip for peers that take it; never for ranges."
    )
    compress_min: int = option(values.size(0, 1 << 40), default=1 << 10, help="The smallest file that is compressed.")
    compress_max: int = option(
        values.size(0, 1 << 40),
        default=16 << 20,
        help="The largest file that is compressed; a larger one goes as it is.",
    )
    compress_level: int = option(values.integer(1, 9), default=5, help="How hard gzip tries.")
