"""Resolves a request path to what stands there, beneath one root. No network, no Twisted.

Decode once, then resolve dots, then route. Every name is opened relative to the open directory before it (openat, no
links followed by the kernel unless the policy says so), so that what was checked is what is sent, whatever is renamed
meanwhile. The answer is a decision; those that hold a descriptor are closed by whoever asked.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes

from attrs import evolve, field, frozen

MAX_SEGMENTS = 256  # names in a path; PATH_MAX is 4,096 octets
MAX_LINKS = 40  # symbolic links on one way, as the kernel's MAXSYMLINKS

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ENCODED_SLASH = re.compile(rb"%(?:2[fF]|5[cC])")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_SAFE = "!$&'()*+,;=:@-._~"  # RFC 3986 3.3, pchar
_WELL_KNOWN = b".well-known"  # RFC 8615
OF_STORE = b".netsvc"  # names that begin so are the file store's own: records, and files that are not yet whole

_PATH = os.O_PATH | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY  # a FIFO must not block, a terminal not become ours


@frozen(kw_only=True)
class Script:
    """A script in a CGI directory.

    :param filename: the script, absolute.
    :param script_name: the decoded URL path of the script ("/cgi-bin/hello.py").
    :param path_info: what stands behind it, decoded ("/a/b"); "" when there is nothing.
    :param docroot: the root that it was found beneath, absolute.
    """

    filename: Path
    script_name: str
    path_info: str
    docroot: Path


@frozen(kw_only=True)
class File:
    """A regular file, open.

    :param descriptor: open for reading; the caller closes it.
    :param stat: of the open file.
    :param path: where it was found, absolute; its last name tells the type.
    :param names: its decoded URL path, with the name of the index file if that was found.
    :param siblings: by coding, the files beside it that hold the same, compressed; see Policy.
    :param digest: its SHA-256, where that is kept.
    """

    descriptor: int
    stat: os.stat_result
    path: bytes
    names: tuple[bytes, ...] = ()
    siblings: Mapping[bytes, File] = field(factory=dict)
    digest: bytes | None = None

    def close(self) -> None:
        """Close it and its siblings."""
        os.close(self.descriptor)
        for sibling in self.siblings.values():
            os.close(sibling.descriptor)


@frozen(kw_only=True)
class Directory:
    """A directory without an index file.

    :param descriptor: open for reading; the caller closes it.
    :param segments: its decoded URL path.
    """

    descriptor: int
    segments: tuple[bytes, ...]

    def close(self) -> None:
        """Close it."""
        os.close(self.descriptor)


@frozen
class Redirect:
    """The path lacks its slash.

    :param location: the right path, encoded; it begins with exactly one slash.
    """

    location: bytes


@frozen
class Refused:
    """Nothing is served there.

    :param status: 400, 403, 404, 500 or 503.
    :param reason: one phrase for the log and ``netsvc explain``.
    """

    status: int
    reason: str


Decision = Script | File | Directory | Redirect | Refused


def close(decision: Decision) -> None:
    """Close what a decision holds open."""
    if isinstance(decision, File | Directory):
        decision.close()


@frozen(kw_only=True)
class Policy:
    """What may be served.

    :param follow: "inside", "owner", "no" or "yes": see the option follow_symlinks.
    :param dotfiles: whether names that begin with a dot are served.
    :param cgi: names of CGI directories; a docroot that is called so is one.
    :param index: names of index files, in order.
    :param siblings: (coding, suffix) of the files that are opened beside each file: regular ones, no links,
        neither empty nor older than it.
    """

    follow: str = "inside"
    dotfiles: bool = False
    cgi: frozenset[bytes] = frozenset()
    index: tuple[bytes, ...] = ()
    siblings: tuple[tuple[bytes, bytes], ...] = ()


class _RefusedError(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.refused = Refused(status, reason)


_STATUS_OF_ERROR = {
    errno.EACCES: 403,
    errno.EPERM: 403,
    errno.EMFILE: 503,
    errno.ENFILE: 503,
    errno.ENOMEM: 503,
    errno.EIO: 500,
    errno.ESTALE: 500,
}


def _refused(error: OSError) -> Refused:
    return Refused(_STATUS_OF_ERROR.get(error.errno or 0, 404), (error.strerror or "unknown error").lower())


def can_be_asked_for(name: bytes) -> bool:
    """Whether a name on disk can stand in a path that `split` accepts."""
    return not (_CONTROL.search(name) or b"\\" in name)


def split(raw: bytes) -> tuple[tuple[bytes, ...], bool] | Refused:
    """The names of a raw URL path, decoded once, dots resolved, empty ones dropped; and whether it ends as a directory.

    :param raw: the path as it came, without the query.
    """
    if not raw.startswith(b"/"):
        return Refused(400, "the path does not begin with a slash")
    if b"%" in raw:
        if _BAD_PERCENT.search(raw):
            return Refused(400, "malformed percent-encoding")
        if _ENCODED_SLASH.search(raw):
            return Refused(404, "an encoded slash or backslash")
        raw = unquote_to_bytes(raw)
    if _CONTROL.search(raw):
        return Refused(400, "a control character in the path")
    if b"\\" in raw:
        return Refused(404, "a backslash in the path")
    parts = raw.split(b"/")
    if len(parts) > MAX_SEGMENTS:
        return Refused(404, "too many names in the path")
    found: list[bytes] = []
    for part in parts:
        if part == b"..":
            if not found:
                return Refused(400, "the path leaves the root")
            found.pop()
        elif part not in (b"", b"."):
            found.append(part)
    return tuple(found), parts[-1] in (b"", b".", b"..")


def join(segments: tuple[bytes, ...], *, directory: bool) -> bytes:
    """The one canonical spelling of a path: begins with one slash, so it can never be taken for ``//host``."""
    if not segments:
        return b"/"
    encoded = "/".join(quote_from_bytes(segment, safe=_SAFE) for segment in segments)
    return b"/%s%s" % (encoded.encode("ascii"), b"/" if directory else b"")


@frozen(kw_only=True)
class Way:
    """A way to go: a decoded URL path, and the root that stands for the beginning of it.

    :param docroot: absolute; it may itself be a link, and may change between requests.
    :param prefix: the names of the path that the docroot stands for.
    :param names: the others.
    :param directory: whether the path ends as a directory.
    """

    docroot: Path
    prefix: tuple[bytes, ...] = ()
    names: tuple[bytes, ...]
    directory: bool


def resolve(docroot: Path, raw: bytes, policy: Policy) -> Decision:
    """What a raw URL path leads to beneath a docroot that stands for all of it."""
    found = split(raw)
    if isinstance(found, Refused):
        return found
    return go(Way(docroot=docroot, names=found[0], directory=found[1]), policy)


def go(way: Way, policy: Policy) -> Decision:
    """What stands at the end of a way."""
    try:
        root = os.open(way.docroot, _PATH | os.O_DIRECTORY)
    except OSError as error:
        refused = _refused(error)
        return Refused(500 if refused.status == 404 else refused.status, "the docroot cannot be opened")
    walk = _Walk(way, root, policy)
    try:
        return walk.resolve(way.names, way.directory)
    except _RefusedError as refusal:
        return refusal.refused
    except OSError as error:
        return _refused(error)
    finally:
        walk.close()


@lru_cache(maxsize=1024)  # scripts that exist
def _script(docroot: Path, prefix: tuple[bytes, ...], segments: tuple[bytes, ...]) -> Script:
    """A script without anything behind it."""
    names = [os.fsdecode(name) for name in segments]
    return Script(
        filename=docroot.joinpath(*names),
        script_name="/" + "/".join([*map(os.fsdecode, prefix), *names]),
        path_info="",
        docroot=docroot,
    )


@lru_cache(maxsize=64)
def _in_lower_case(names: frozenset[bytes]) -> frozenset[bytes]:
    return frozenset(name.lower() for name in names)


class _Walk:
    """One way from the root to a file. Holds the directories on it open."""

    def __init__(self, way: Way, root: int, policy: Policy) -> None:
        self._docroot = way.docroot
        self._prefix = way.prefix
        self._policy = policy
        self._variants = _in_lower_case(policy.cgi)
        self._open = [root]
        self._names: list[bytes] = []  # of the open directories below the root, links resolved
        self._links = 0
        self._left_names = False  # a link was followed by the kernel: the names no longer say where we are

    def close(self) -> None:
        for descriptor in self._open:
            os.close(descriptor)
        self._open.clear()

    def resolve(self, segments: tuple[bytes, ...], directory: bool) -> Decision:
        """What the names lead to."""
        in_cgi = any(name in self._policy.cgi for name in (*self._prefix, os.fsencode(self._docroot.name)))
        for at, name in enumerate(segments):
            if name.startswith(b".") and not self._policy.dotfiles and (at or self._prefix or name != _WELL_KNOWN):
                raise _RefusedError(404, "a hidden name")
            leaf = self._enter(name)
            if leaf is not None:
                if in_cgi:
                    leaf.close()
                    return self._script(segments[: at + 1], segments[at + 1 :], directory)
                if directory or at + 1 < len(segments):
                    leaf.close()
                    raise _RefusedError(404, "a file is no directory")
                return self._file(leaf, segments)
            if name in self._policy.cgi:
                in_cgi = True
            elif name.lower() in self._variants:
                raise _RefusedError(404, "another spelling of a CGI directory")
        if in_cgi or self._in_cgi(self._open[-1], directory=True):
            raise _RefusedError(403, "CGI directories are not shown")
        if not directory:
            return Redirect(join((*self._prefix, *segments), directory=True))
        return self._directory(segments)

    def _directory(self, segments: tuple[bytes, ...]) -> Decision:
        for name in self._policy.index:
            depth = len(self._open)
            try:
                leaf = self._enter(name)
            except FileNotFoundError:
                continue
            if leaf is not None:
                return self._file(leaf, (*segments, name))
            if len(self._open) != depth + 1:  # pragma: no cover  (a link upwards, to a directory)
                raise _RefusedError(404, "the index is no file")
            os.close(self._open.pop())
            self._names.pop()
        descriptor = os.open(b".", _READ | os.O_DIRECTORY, dir_fd=self._open[-1])
        return Directory(descriptor=descriptor, segments=(*self._prefix, *segments))

    def _script(self, segments: tuple[bytes, ...], rest: tuple[bytes, ...], directory: bool) -> Script:
        script = _script(self._docroot, self._prefix, segments)
        if not rest and not directory:
            return script
        info = b"".join(b"/" + name for name in rest) + (b"/" if directory else b"")
        return evolve(script, path_info=os.fsdecode(info))

    def _file(self, leaf: _Leaf, segments: tuple[bytes, ...]) -> File:
        try:
            if self._in_cgi(leaf.descriptor):
                raise _RefusedError(403, "a link into a CGI directory")
            descriptor = os.open(leaf.name, _READ | leaf.no_follow, dir_fd=leaf.directory)
        finally:
            leaf.close()
        found = os.fstat(descriptor)
        if (found.st_dev, found.st_ino) != (leaf.stat.st_dev, leaf.stat.st_ino):
            os.close(descriptor)
            raise _RefusedError(404, "the file was replaced while it was opened")
        path = b"/".join((os.fsencode(self._docroot), *segments))
        siblings = self._siblings(leaf, found)
        return File(descriptor=descriptor, stat=found, path=path, names=(*self._prefix, *segments), siblings=siblings)

    def _siblings(self, leaf: _Leaf, found: os.stat_result) -> dict[bytes, File]:
        """What stands beside a file under its name with a suffix: where the file is, not where a link to it is."""
        siblings: dict[bytes, File] = {}
        for coding, suffix in self._policy.siblings:
            name = leaf.name + suffix
            try:
                seen = os.stat(name, dir_fd=leaf.directory, follow_symlinks=False)
                if not stat.S_ISREG(seen.st_mode) or seen.st_mtime_ns < found.st_mtime_ns:
                    continue
                if not seen.st_size:
                    continue  # it is being written: nothing is empty in any coding
                if not leaf.no_follow and seen.st_uid != found.st_uid:
                    continue  # the kernel followed a link here: an owner's link leads to the owner's files only
                descriptor = os.open(name, _READ | os.O_NOFOLLOW, dir_fd=leaf.directory)
            except OSError:  # the usual case: there is none
                continue
            opened = os.fstat(descriptor)
            if (opened.st_dev, opened.st_ino, opened.st_mtime_ns) != (seen.st_dev, seen.st_ino, seen.st_mtime_ns):
                os.close(descriptor)
                continue
            siblings[coding] = File(descriptor=descriptor, stat=opened, path=_real_path(descriptor))
        return siblings

    def _in_cgi(self, descriptor: int, *, directory: bool = False) -> bool:
        """Whether the way has led into a CGI directory, by names or by links."""
        if not self._policy.cgi:
            return False
        names = self._names
        if self._left_names:
            try:
                real = os.readlink(b"/proc/self/fd/%d" % descriptor)
                root = os.readlink(b"/proc/self/fd/%d" % self._open[0])
            except OSError:
                raise _RefusedError(403, "where a link leads cannot be told without /proc") from None
            names = real.removeprefix(root.rstrip(b"/") + b"/").split(b"/")
            if not directory:
                names.pop()
        return any(name.lower() in self._variants for name in names)

    def _enter(self, name: bytes) -> _Leaf | None:
        """Go to one name: into a directory (None), or to a regular file (a leaf, not yet open for reading)."""
        pending = [name]
        while pending:
            name = pending.pop()
            if name.startswith(OF_STORE):
                raise _RefusedError(404, "a name of the file store's own")
            if name == b"..":
                if len(self._open) == 1:
                    raise _RefusedError(404, "a link leaves the root")
                os.close(self._open.pop())
                self._names.pop()
                continue
            descriptor = os.open(name, _PATH | os.O_NOFOLLOW, dir_fd=self._open[-1])
            try:
                found = os.fstat(descriptor)
                no_follow = os.O_NOFOLLOW
                if stat.S_ISLNK(found.st_mode):
                    target = self._follow(descriptor)
                    if isinstance(target, list):
                        pending.extend(target)
                        continue
                    name, no_follow = target, 0
                    followed = os.open(name, _PATH, dir_fd=self._open[-1])
                    os.close(descriptor)
                    descriptor, link, found = followed, found, os.fstat(followed)
                    if self._policy.follow == "owner" and link.st_uid != found.st_uid:
                        raise _RefusedError(403, "a link whose owner does not own its target")
                    self._left_names = True
                if stat.S_ISDIR(found.st_mode):
                    self._open.append(descriptor)
                    self._names.append(name)
                    descriptor = -1
                    continue
                if not stat.S_ISREG(found.st_mode) or pending:
                    raise _RefusedError(404, "neither a file nor a directory")
                leaf = _Leaf(descriptor, found, name, self._open[-1], no_follow)
                descriptor = -1
                return leaf
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
        return None

    def _follow(self, descriptor: int) -> list[bytes] | bytes:
        """Where a link leads: names to go from here (last first), or a path that the kernel may follow."""
        self._links += 1
        if self._policy.follow == "no":
            raise _RefusedError(404, "a symbolic link")
        if self._links > MAX_LINKS:
            raise _RefusedError(404, "too many symbolic links")
        target = os.readlink(b"", dir_fd=descriptor)
        if self._policy.follow != "inside":
            return target
        if target.startswith(b"/"):
            target = self._beneath(target)
            while len(self._open) > 1:
                os.close(self._open.pop())
            self._names.clear()
        return [part for part in reversed(target.split(b"/")) if part not in (b"", b".")]

    def _beneath(self, target: bytes) -> bytes:
        """An absolute target from the root on; the root may be named as it was configured, or by its real path."""
        named = os.fsencode(self._docroot)
        for root in (named, os.path.realpath(named)):
            start = root.rstrip(b"/") + b"/"
            if (target + b"/").startswith(start):
                return target[len(start) :]
        raise _RefusedError(404, "a link leaves the root")


def _real_path(descriptor: int) -> bytes:
    """Where an open file is, absolute; b"" where that cannot be told."""
    try:
        return os.readlink(b"/proc/self/fd/%d" % descriptor)
    except OSError:  # pragma: no cover  (no /proc)
        return b""


class _Leaf:
    """A regular file at the end of a way.

    :param descriptor: opened with O_PATH, ours to close.
    :param name: what opens it from the directory.
    :param no_follow: O_NOFOLLOW, or 0 when the policy let the kernel follow a link.
    """

    __slots__ = ("descriptor", "directory", "name", "no_follow", "stat")

    def __init__(self, descriptor: int, found: os.stat_result, name: bytes, directory: int, no_follow: int) -> None:
        self.descriptor = descriptor
        self.stat = found
        self.name = name
        self.directory = directory
        self.no_follow = no_follow

    def close(self) -> None:
        os.close(self.descriptor)
