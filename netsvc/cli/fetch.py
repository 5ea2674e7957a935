"""``netsvc fetch URL...``: downloads many files by the daemon's own engine, and orders runs of a daemon that runs."""

from __future__ import annotations

import argparse
import gc
import sys
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

from netsvc.cli.fetch_operate import COMMANDS, operate
from netsvc.cli.fetch_socket import add_where
from netsvc.cli.files.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOT_ALLOWED,
    EXIT_NOT_THERE,
    EXIT_NOT_VERIFIED,
    EXIT_USAGE,
)
from netsvc.cli.progress import Bars, progress_for
from netsvc.config import values
from netsvc.config.options import Context
from netsvc.config.secrets import secret
from netsvc.errors import BadValue, printable
from netsvc.services.fetch.alone.request import FeedRequest, Request
from netsvc.services.fetch.checksums import ChecksumError, Sum, parse_list
from netsvc.services.fetch.feed import FIELDS, fields_of
from netsvc.services.fetch.path import PathError, parse_path
from netsvc.services.fetch.settings import Listed, check_url, parse_listed, parse_pages

MOST_AT_ONCE = 256
STATUSES = {
    "failed": EXIT_FAILED,
    "missing": EXIT_NOT_THERE,
    "forbidden": EXIT_NOT_ALLOWED,
    "unverified": EXIT_NOT_VERIFIED,
    "interrupted": EXIT_INTERRUPTED,
}

EPILOG = """\
A URL may have its checksum behind it: "https://example.com/a.iso sha256:HEX";
so may a line of --from. A file is there whole and verified, or not at all. It
is called as its URL ends; where two end alike, the second is name-2. What fails
for now is tried again, after random delays that double, and as Retry-After
says, --tries times in --retry-for seconds.

netsvc fetch run [NAME] [--wait]       order a run of [fetch] or [fetch:NAME]
netsvc fetch queue [--all] | show ID | audit | requeue ID | remove ID
                                       look into its queue, and change it

exit status: 0 all files are here; 1 some are not; 2 bad usage; 3 there is no
such file; 4 not allowed; 5 the octets are not those that were promised. Of
several that end in different ways it is 1. 130 after Ctrl-C or SIGTERM: what
has come is kept, and the same command with -c goes on from there. Of run and
its kin: 0, 1 with --wait if some failed, or a status of sysexits(3).
"""


class UsageError(Exception):
    """That cannot be asked for."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add = parser.add_argument
    add("words", metavar="URL", nargs="*", help="what to download; or run, queue, show, audit, requeue, remove")
    add("--from", dest="source", metavar="FILE", help="URLs, one a line, # begins a comment; - is standard input")
    add("-d", "--directory", metavar="DIR", type=Path, help="where to (here); it is made if it is not there")
    add("-o", "--output", metavar="FILE", type=Path, help="where to, for one URL; what is there is replaced")
    add("-J", "--answer-names", action="store_true", help="call files as the answers say (RFC 6266)")
    add("-c", "--continue", dest="resume", action="store_true", help="go on where an earlier call stopped")
    add("--mirror", action="store_true", help="ask for what is here only if it changed; so does -c")
    add("-i", "--head", action="store_true", help="print the head of each answer")
    add("-j", "--jobs", type=_count, default=16, metavar="N", help="so many at once (16)")
    add("--per-host", type=_count, default=8, metavar="N", help="so many at once from one host (8)")
    add("--limit-rate", type=_rate, metavar="SIZE/s", help="of all together, such as 1MiB/s")
    add("--max-size", type=_size, metavar="SIZE", help="of a file, such as 1GiB")
    add("--timeout", type=_seconds, default=30.0, metavar="SECONDS", help="how long to wait for a sign of life (30)")
    add("--tries", type=_count, default=8, metavar="N", help="how often a file is asked for at most (8)")
    add("--retry-for", type=_seconds, default=60.0, metavar="SECONDS", help="how long a file is tried again (60)")
    add("--checksums", metavar="FILE|URL", help="a list such as SHA256SUMS; what it has no line for is not taken")
    add("--feed", metavar="URL", help="a JSON API that names more; {key} and {page} stand for --key and --pages")
    add("--path", metavar="PATH", help="where in its answer the URLs stand, such as newslist[*].picUrl")
    add("--key", metavar="REFERENCE", help="the API's key: file:PATH, env:NAME or credential:NAME")
    add("--pages", metavar="FIRST-LAST", default="1", help="which pages are asked for (1)")
    add("--manifest", metavar="NAME", help="write a JSON line for each file into a file of that name, beside them")
    add("--private-addresses", action="store_true", help="take addresses that are not public, too")
    add("--cafile", "--ca-file", metavar="FILE", type=Path, help="the authorities for https, in PEM form")
    add("--json", action="store_true", help="print JSON lines")
    add("-q", "--quiet", action="store_true", help="show nothing but errors")
    add("--wait", action="store_true", help="with run: until every file is here or has failed")
    add("--all", action="store_true", help="with queue: what is finished as well")
    add_where(parser)


def run(arguments: argparse.Namespace) -> int:
    """Download, or ask the daemon; the exit status."""
    words: list[str] = arguments.words
    if words and words[0] in COMMANDS:
        return operate(words[0], words[1:], arguments)
    try:
        request = _request(arguments)
    except UsageError as error:
        print(printable(f"netsvc fetch: {error}"), file=sys.stderr)
        return EXIT_USAGE
    stream = sys.stdout if arguments.json else sys.stderr
    gc.disable()  # until all is imported and runs: nothing of that is garbage
    # The engine is Twisted, which is slow to import and not this command's until here.
    program: Any = import_module("netsvc.services.fetch.alone.program")
    heads: list[Any] = []
    with progress_for(stream, arguments.json, arguments.quiet) as progress:
        ends: set[str] = program.run(request, progress, heads.append, whole=isinstance(progress, Bars))
    for one in heads:  # not before: while there are bars what is printed goes where they are
        _print_head(one)
    if "interrupted" in ends:
        return EXIT_INTERRUPTED
    return STATUSES[ends.pop()] if len(ends) == 1 else EXIT_FAILED if ends else 0


def _print_head(done: Any) -> None:
    try:
        phrase = f" {HTTPStatus(done.status).phrase}"
    except ValueError:
        phrase = ""
    lines = [f"HTTP {done.status}{phrase}", *(f"{name}: {value}" for name, value in done.headers), ""]
    print("\n".join(map(printable, lines)), flush=True)


def _request(arguments: argparse.Namespace) -> Request:
    if arguments.head and arguments.json:
        raise UsageError("--head and --json both print to standard output")
    urls = tuple(map(_listed, arguments.words)) + _read_list(arguments.source)
    feed = _feed(arguments)
    if not urls and feed is None:
        raise UsageError("there is no URL" if arguments.source is None else f"{arguments.source}: there is no URL")
    output: Path | None = arguments.output
    if output is not None and (len(urls) != 1 or feed is not None or arguments.directory is not None):
        raise UsageError("-o is for one URL; of several, -d says where to")
    if output is not None and (not output.name or output.is_dir()):
        raise UsageError(f"{output} is a directory: -d says where to")
    directory = output.parent if output is not None else arguments.directory or Path()
    if arguments.manifest is not None and ("/" in arguments.manifest or arguments.manifest.startswith(".")):
        raise UsageError(f"{arguments.manifest!r} is no name of a file in the directory")
    sums, sums_url = _checksums(arguments.checksums)
    if not directory.is_dir():
        try:
            directory.mkdir()
        except OSError as error:
            raise UsageError(f"{directory}: {error.strerror}") from None
    return Request(
        urls=urls,
        feed=feed,
        directory=directory,
        output=None if output is None else output.name,
        answer_names=arguments.answer_names,
        sums=sums,
        sums_url=sums_url,
        resume=arguments.resume,
        mirror=arguments.mirror or arguments.resume,
        head=arguments.head,
        manifest=arguments.manifest,
        jobs=arguments.jobs,
        per_host=arguments.per_host,
        rate_limit=arguments.limit_rate,
        max_size=arguments.max_size,
        timeout=arguments.timeout,
        tries=arguments.tries,
        retry_for=arguments.retry_for,
        private_addresses=arguments.private_addresses,
        cafile=arguments.cafile,
        quiet=arguments.quiet,
    )


def _read_list(source: str | None) -> tuple[Listed, ...]:
    """The lines of a file, or of standard input."""
    if source is None:
        return ()
    try:
        text = (sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()).decode()
    except OSError as error:
        raise UsageError(f"{source}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{source} is not UTF-8") from None
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.partition(" #")[0].strip()
        if words and not words.startswith("#"):
            try:
                found.append(parse_listed(words))
            except BadValue as bad:
                raise UsageError(f"{source}, line {number}: {bad.message}") from None
    return tuple(found)


def _listed(word: str) -> Listed:
    try:
        return parse_listed(word)
    except (BadValue, ValueError) as error:
        reason = error.message if isinstance(error, BadValue) else "it is empty"
        raise UsageError(f"{word.partition('?')[0]!r}: {reason}") from None


def _feed(arguments: argparse.Namespace) -> FeedRequest | None:
    if (arguments.feed is None) != (arguments.path is None):
        raise UsageError("--feed and --path belong together")
    if arguments.feed is None:
        if arguments.key is not None:
            raise UsageError("--key is for --feed")
        return None
    fields = fields_of(arguments.feed)
    if not fields <= FIELDS:
        raise UsageError("in --feed there may be {key} and {page}")
    if ("key" in fields) != (arguments.key is not None):
        raise UsageError("{key} in --feed and --key belong together")
    try:
        key = None if arguments.key is None else secret().parse(arguments.key, Context(Path.cwd()))
        pages = parse_pages(arguments.pages)
        if pages[1] > pages[0] and "page" not in fields:
            raise UsageError("several pages need {page} in --feed")
        return FeedRequest(template=check_url(arguments.feed), path=parse_path(arguments.path), key=key, pages=pages)
    except BadValue as bad:
        raise UsageError(bad.message) from None
    except PathError as error:
        raise UsageError(str(error)) from None


def _checksums(where: str | None) -> tuple[dict[str, Sum] | None, str | None]:
    """A list that is a file here, or the URL of one."""
    if where is None:
        return None, None
    if where.startswith(("http://", "https://")):
        return None, where
    try:
        return parse_list(Path(where).read_bytes()), None
    except OSError as error:
        raise UsageError(f"{where}: {error.strerror}") from None
    except ChecksumError as error:
        raise UsageError(f"{where}: {error}") from None


def _size(text: str) -> int:
    try:
        return values.size(1, 1 << 60).parse(text.strip(), Context(Path()))
    except BadValue as bad:
        raise argparse.ArgumentTypeError(bad.message) from None


def _rate(text: str) -> int:
    return _size(text.strip().removesuffix("/s"))


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return found


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= MOST_AT_ONCE):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_AT_ONCE}")
    return int(text)
