"""Options of downloads: what comes, when, from how many at once, on which terms. No Twisted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen

from netsvc.config import values
from netsvc.config.listen import MAX_UNIX_PATH
from netsvc.config.options import Context, ValueType, option
from netsvc.config.secrets import Secret, secret
from netsvc.errors import BadValue, together
from netsvc.filestore.settings import StoreSettings
from netsvc.outbox.settings import DatabaseSettings, database_faults
from netsvc.services.fetch.checksums import ChecksumError, parse_sum
from netsvc.services.fetch.feed import FIELDS, fields_of
from netsvc.services.fetch.path import Path as JsonPath
from netsvc.services.fetch.path import PathError, parse_path

KIND_WORD = "fetch"
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_LARGEST = 1 << 60  # octets; ext4 ends at 2^44, XFS at 2^63


@frozen
class Listed:
    """One line of a list.

    :param checksum: as ``sha256:HEX``, or empty.
    """

    url: str = field(repr=False)
    checksum: str = ""

    def __str__(self) -> str:
        return f"{self.url} {self.checksum}".rstrip()


def check_url(text: str) -> str:
    """A URL of http or https.

    :raises BadValue: it is none. The URL is not in the text: a password may stand in it.
    """
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or any(one.isspace() for one in text):
        raise BadValue("it is no URL of http: or https:")
    return text


def parse_listed(line: str) -> Listed:
    """One line: a URL, and perhaps its checksum.

    :raises BadValue: it is none.
    """
    url, *rest = line.split()
    if len(rest) > 1:
        raise BadValue("there is more than a URL and its checksum in the line")
    check_url(url)
    try:
        return Listed(url, str(parse_sum(rest[0])) if rest else "")
    except ChecksumError as error:
        raise BadValue(str(error), at=line.rindex(rest[0])) from None


def _url_list() -> ValueType[tuple[Listed, ...]]:
    def parse(value: str, _: Context) -> tuple[Listed, ...]:
        found, wrong = [], []
        for match in re.finditer(r"[^\n]+", value):
            if match[0].strip():
                try:
                    found.append(parse_listed(match[0].strip()))
                except BadValue as bad:
                    wrong.append(BadValue(bad.message, at=match.start() + bad.at))
        if wrong:
            raise together(wrong)
        return tuple(found)

    return ValueType(
        name="URLs",
        bounds="URL [sha256:HEX] a line",
        parse=parse,
        show=lambda found: "\n".join(map(str, found)),
        multiline=True,
    )


def _url() -> ValueType[str | None]:
    def parse(value: str, _: Context) -> str | None:
        return check_url(value)

    return ValueType(name="URL", bounds="http: or https:", parse=parse, show=lambda value: value or "")


def _json_path() -> ValueType[JsonPath | None]:
    def parse(value: str, _: Context) -> JsonPath | None:
        try:
            return parse_path(value)
        except PathError as error:
            raise BadValue(str(error)) from None

    return ValueType(name="path into JSON", bounds="such as newslist[*].picUrl", parse=parse)


def parse_pages(value: str) -> tuple[int, int]:
    """A span of pages: ``1-5``, or one.

    :raises BadValue: it is none.
    """
    match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", value)
    if match is None:
        raise BadValue(f"{value!r} is no span of pages such as 1-5")
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first or last - first >= 1000:
        raise BadValue(f"{value} is not one to a thousand pages")
    return first, last


def _pages() -> ValueType[tuple[int, int]]:
    return ValueType(
        name="pages",
        bounds="FIRST-LAST, a thousand at most",
        parse=lambda value, _: parse_pages(value),
        show=lambda span: f"{span[0]}-{span[1]}",
    )


def _moment(text: str) -> time:
    match = re.fullmatch(r"([0-9]{1,2}):([0-9]{2})", text)
    if match is None or int(match[1]) > 23 or int(match[2]) > 59:
        raise BadValue(f"{text!r} is no time of the day such as 03:00")
    return time(int(match[1]), int(match[2]))


@frozen(kw_only=True)
class FetchSettings(StoreSettings, DatabaseSettings):
    """What is downloaded, when, and how."""

    directory: Path | None = option(
        values.path(), default=None, help="Where the files go; without it, downloads/SECTION in the state directory."
    )
    urls: tuple[Listed, ...] = option(_url_list(), default=(), help="What is downloaded.")
    feed: str | None = option(
        _url(),
        default=None,
        help="A JSON API that names more; {key} stands for feed_key, {page} for each page in turn.",
    )
    feed_path: JsonPath | None = option(_json_path(), default=None, help="Where in its answer the URLs stand.")
    feed_key: Secret | None = option(secret(), default=None, help="The key of that API.")
    feed_pages: tuple[int, int] = option(_pages(), default=(1, 1), help="Which pages are asked for.")
    checksums: str | None = option(
        _url(), default=None, help="A list such as SHA256SUMS: what it has no line for is not taken."
    )
    every: float | None = option(
        values.optional(values.duration(1, 365 * DAY)), default=None, help="Time from one run to the next."
    )
    at: tuple[time, ...] = option(
        values.items(_moment, name="times", bounds="HH:MM", show=lambda one: f"{one:%H:%M}"),
        default=(),
        help="Times of the day for runs.",
    )
    timezone: str = option(values.timezone(), default="local", help="Whose times these are.")
    when_told: bool = option(
        values.boolean(),
        default=False,
        help="Without every and at: run by 'netsvc fetch run' only, and not once when the list is new.",
    )
    mirror: bool = option(
        values.boolean(),
        default=False,
        help="Ask in each run whether a file that is here has changed; else what is here is not asked for again.",
    )
    manifest: str | None = option(
        values.optional(values.text(longest=200, empty=False)),
        default="manifest.jsonl",
        help="The file in the directory that has a JSON line for each URL.",
    )
    concurrency: int = option(values.integer(1, 256), default=16, help="Downloads at the same time.")
    per_host: int = option(values.integer(1, 256), default=4, help="Downloads from one host at the same time.")
    rate_limit: int | None = option(
        values.optional(values.size(1, _LARGEST)), default=None, help="Octets a second of all downloads together."
    )
    connect_timeout: float = option(
        values.duration(0.1, HOUR), default=15.0, help="Time for the name, the connection and the TLS handshake."
    )
    first_byte_timeout: float = option(
        values.duration(0.1, HOUR), default=30.0, help="Time from the request to the head of the answer."
    )
    idle_timeout: float = option(
        values.duration(0.1, HOUR), default=30.0, help="Time without an octet in the middle of a file."
    )
    total_timeout: float | None = option(
        values.optional(values.duration(1, 7 * DAY)), default=None, help="Time for one attempt in all."
    )
    lowest_speed: int = option(
        values.size(0, _LARGEST), default=0, help="Octets a second; what is slower on average is given up for now."
    )
    speed_window: float = option(values.duration(1, HOUR), default=30.0, help="The time of that average.")
    max_redirects: int = option(
        values.integer(0, 50), default=10, help="Redirects that are followed; none from https: to http:."
    )
    private_addresses: bool = option(
        values.boolean(),
        default=False,
        help="Download from addresses that are not public, too, such as this machine's.",
    )
    trust_roots: Path | None = option(
        values.path(), default=None, help="PEM file of the authorities to believe; without it, those of this machine."
    )
    retry_first: float = option(
        values.duration(1, DAY), default=10.0, help="Upper bound of the first delay; each next one doubles it."
    )
    retry_longest: float = option(values.duration(1, 7 * DAY), default=HOUR, help="Upper bound of every delay.")
    give_up_after: float = option(
        values.duration(1, 365 * DAY), default=DAY, help="Age at which a file that does not come is given up."
    )
    socket: Path | None = option(
        values.path(), default=None, help="UNIX socket of 'netsvc fetch run'; without it, in the state directory."
    )
    socket_mode: int = option(values.octal_mode(), default=0o660, help="Who may order runs: the socket's mode.")
    queue_directory: Path | None = option(
        values.path(),
        default=None,
        help="Where what is to come stands; without it, outbox/SECTION in the state directory.",
    )
    keep: float = option(
        values.duration(0, 3650 * DAY), default=30 * DAY, help="How long finished files stay in the queue's records."
    )
    drain_timeout: float = option(
        values.duration(0, HOUR), default=5.0, help="Time that downloads have to finish when the service stops."
    )

    def check(self) -> Iterator[tuple[str, str]]:
        """What cannot stand together: (key, message) each."""
        if not self.urls and self.feed is None:
            yield "urls", "there is nothing to download: neither urls nor a feed"
        if (self.feed is None) != (self.feed_path is None):
            yield "feed_path" if self.feed_path is None else "feed", "feed and feed_path belong together"
        fields = set() if self.feed is None else fields_of(self.feed)
        for one in sorted(fields - FIELDS):
            yield "feed", f"{{{one}}} is neither {{key}} nor {{page}}"
        if ("key" in fields) != (self.feed_key is not None):
            yield "feed_key", "{key} in feed and feed_key belong together"
        if self.feed_pages[1] > self.feed_pages[0] and "page" not in fields:
            yield "feed_pages", "several pages need {page} in feed"
        if self.when_told and (self.every is not None or self.at):
            yield "when_told", "every and at say when"
        if self.manifest is not None and ("/" in self.manifest or self.manifest.startswith(".")):
            yield "manifest", "it is no name of a file that may stand in the directory"
        if self.per_host > self.concurrency:
            yield "per_host", "it is more than concurrency"
        if self.retry_longest < self.retry_first:
            yield "retry_longest", "it is shorter than retry_first"
        if self.socket is not None and len(bytes(self.socket)) > MAX_UNIX_PATH:
            yield "socket", f"the path {str(self.socket)!r} is longer than {MAX_UNIX_PATH} octets"
        yield from database_faults(self)

    def identity(self) -> str:
        """Tells this list from others: a list that was run once is not run again for a new rate limit."""
        parts: list[Any] = [str(self.directory), list(map(str, self.urls)), self.feed, str(self.feed_path)]
        return hashlib.sha256(repr([*parts, self.feed_pages]).encode("utf-8", "surrogatepass")).hexdigest()


def _place(state_directory: Path, name: str, suffix: str) -> Path:
    return state_directory / f"{name.replace(':', '-')}{suffix}"


def socket_path(settings: FetchSettings, state_directory: Path, name: str) -> Path:
    """Where a section's socket is: ``fetch.sock``, or ``fetch-INSTANCE.sock`` for ``[fetch:INSTANCE]``."""
    return settings.socket or _place(state_directory, name, ".sock")


def directory_path(settings: FetchSettings, state_directory: Path, name: str) -> Path:
    """Where a section's files go: ``downloads/fetch``, or ``downloads/fetch-INSTANCE``."""
    return settings.directory or _place(state_directory / "downloads", name, "")


def queue_path(settings: FetchSettings, state_directory: Path, name: str) -> Path:
    """Where a section's queue is: ``outbox/fetch``, or ``outbox/fetch-INSTANCE``."""
    return settings.queue_directory or _place(state_directory / "outbox", name, "")


def records_path(state_directory: Path, name: str) -> Path:
    """Where a section's records are: ``fetch.records``, or ``fetch-INSTANCE.records``."""
    return _place(state_directory, name, ".records")
