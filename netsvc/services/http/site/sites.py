"""What a URL means: which host, which place of its site, and what stands there. No network, no Twisted.

The way of a request: the path is decoded and its dots resolved once (:mod:`.paths`); the host chooses the site; the
longest prefix among its scopes chooses the place, whose options then decide. ``netsvc explain`` prints this way and the
routes go it: there is no second reading of a URL anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import field, frozen

from netsvc.config.options import options
from netsvc.config.scopes import Prefix, Scope, inherited
from netsvc.filestore.access import Access
from netsvc.filestore.errors import BadNameError
from netsvc.filestore.names import check_name
from netsvc.services.http.auth.settings import AuthSettings
from netsvc.services.http.site.paths import Decision, File, Policy, Redirect, Refused, Way, close, go, join, split
from netsvc.services.http.site.redirects import redirect_to
from netsvc.services.http.static.encodings import SUFFIXES
from netsvc.services.http.upload.settings import USER

ACME = (b".well-known", b"acme-challenge")  # RFC 8555 8.3: asked for without TLS, and must be answered so
CHANGES = ("PUT", "DELETE", "MKCOL")  # methods that are about a file's place, whether anything stands there or not


@frozen(kw_only=True, eq=False)
class Place:
    """One scope of a site, with everything that it has from the scopes around it.

    :param host: of the site; "" is the one that answers for all other hosts.
    :param prefix: the names of the path where it begins.
    :param settings: its options.
    :param docroot: absolute.
    :param docroot_at: the prefix that the docroot stands for: of the scope that set it.
    :param mount_at: the prefix that the mounted resource stands for, likewise.
    :param cgi_at: the scope that set an option of CGI last; places with the same one share their scripts' limits.
    :param policy: what may be served.
    :param gate: what it asks of whoever comes; who may see one place may see another only if this is the same.
    """

    host: str
    prefix: tuple[bytes, ...]
    settings: Any
    docroot: Path
    docroot_at: tuple[bytes, ...]
    mount_at: tuple[bytes, ...]
    cgi_at: Prefix
    policy: Policy
    gate: tuple[object, ...]

    def __str__(self) -> str:
        return str(Prefix(self.host, tuple(os.fsdecode(name) for name in self.prefix)))

    def root_of(self, user: str) -> Path:
        """The docroot, with a user's name for each name ``%u`` in it.

        :param user: who signed in, or "".
        :raises BadNameError: it is a root of users, and this is none, or no name that a directory may have.
        """
        if self.fixed_root == self.docroot:
            return self.docroot
        name = check_name(user)
        return Path(*(name if part == USER else part for part in self.docroot.parts))

    @cached_property
    def fixed_root(self) -> Path:
        """What of the docroot is the same for all users: must be there when the service starts."""
        parts = self.docroot.parts
        return Path(*parts[: parts.index(USER)]) if USER in parts else self.docroot


@frozen(eq=False)
class Site:
    """The places of one host."""

    places: dict[tuple[bytes, ...], Place]
    depth: int

    def place(self, names: tuple[bytes, ...]) -> Place:
        """The place that a path belongs to."""
        for length in range(min(len(names), self.depth), 0, -1):
            found = self.places.get(names[:length])
            if found is not None:
                return found
        return self.places[()]


@frozen
class Moved:
    """The answer is another address.

    :param location: URL or path, encoded.
    :param reason: one phrase for ``netsvc explain``.
    """

    status: int
    location: bytes
    reason: str


@frozen
class Mounted:
    """A Twisted resource answers.

    :param at: the names of the path that lead to it.
    """

    at: tuple[bytes, ...]


@frozen(kw_only=True)
class Request:
    """What of a request decides what it means."""

    host: str
    path: bytes
    query: bytes = b""
    secure: bool = False
    method: str = "GET"


@frozen
class Found:
    """What a URL means.

    :param site: of the host.
    :param place: whose options hold.
    :param names: the decoded path.
    :param directory: whether it ends as a directory.
    """

    site: Site
    place: Place
    names: tuple[bytes, ...]
    directory: bool


def host_of(authority: str) -> str:
    """The host of an authority, without its port, in lower case, without the root's dot."""
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0].lower().rstrip(".")


def policy_of(settings: Any) -> Policy:
    """What may be served, by the settings of a scope."""
    return Policy(
        follow=settings.follow_symlinks,
        dotfiles=settings.dotfiles,
        cgi=frozenset(os.fsencode(name) for name in settings.cgi_directories),
        index=tuple(os.fsencode(name) for name in settings.index),
        siblings=tuple(SUFFIXES.items()) if settings.precompressed and not _may_only_upload(settings) else (),
    )


def _may_only_upload(settings: Any) -> bool:
    """Whether somebody may bring new files and change none: his FILE.gz beside another's FILE would stand for that."""
    return settings.upload and any(access is Access.UPLOAD_ONLY for _, access in settings.upload_access)


def credentials_of(settings: Any) -> tuple[object, ...]:
    """The options of authentication; places where they are the same have one authenticator."""
    return tuple(getattr(settings, one.key) for one in options(AuthSettings))


def gate_of(settings: Any) -> tuple[object, ...]:
    """What a scope asks of whoever comes: TLS, a password."""
    return settings.https, *credentials_of(settings)


def _within(around: Place, names: tuple[bytes, ...], scope: Scope) -> Place:
    """The place of a scope, which has what it does not set itself from the place around it."""
    given = {key: getattr(scope.settings, key) for key in scope.given}
    cgi_at = around.cgi_at
    if any(key.startswith("cgi_") for key in given):  # what hosts have in common, unless theirs is different around it
        cgi_at = Prefix(scope.prefix.host or around.cgi_at.host, scope.prefix.names)
    settings = inherited(around.settings, type(scope.settings), given)
    return Place(
        host=around.host,
        prefix=names,
        settings=settings,
        docroot=settings.docroot.absolute(),
        docroot_at=names if "docroot" in scope.given else around.docroot_at,
        mount_at=names if "mount" in scope.given else around.mount_at,
        cgi_at=cgi_at,
        policy=policy_of(settings),
        gate=gate_of(settings),
    )


@frozen
class Sites:
    """Every site of one http section.

    :param settings: an HttpSettings.
    """

    settings: Any
    _sites: dict[str, Site] = field(init=False, factory=dict)
    _wild: dict[str, Site] = field(init=False, factory=dict)  # by what stands behind the "*"

    def __attrs_post_init__(self) -> None:
        for site in self._made():
            root = site.places[()]
            for name in (root.host, *root.settings.names) if root.host else root.settings.names:
                known, key = (self._wild, name[1:]) if name.startswith("*.") else (self._sites, name)
                known.setdefault(key, site)
            if not root.host:
                self._sites[""] = site

    def _made(self) -> Iterable[Site]:
        by_host: dict[str, list[Scope]] = {"": []}
        for scope in self.settings.scopes:
            by_host.setdefault(scope.prefix.host, []).append(scope)
        for host, scopes in by_host.items():
            own = not host or any("docroot" in one.given for one in scopes if not one.prefix.names)
            common = () if not host else [one for one in by_host[""] if not (own and one.prefix.names)]
            yield self._site(host, (*common, *scopes))

    def _site(self, host: str, scopes: Iterable[Scope]) -> Site:
        """A site.

        :param scopes: its own behind those of all hosts that hold for it, too: a host that shows the common docroot
            asks for the same passwords there.
        """
        root = Place(
            host=host,
            prefix=(),
            settings=self.settings,
            docroot=self.settings.docroot.absolute(),
            docroot_at=(),
            mount_at=(),
            cgi_at=Prefix(),
            policy=policy_of(self.settings),
            gate=gate_of(self.settings),
        )
        found: dict[tuple[bytes, ...], list[Scope]] = {}
        for scope in scopes:
            found.setdefault(tuple(os.fsencode(name) for name in scope.prefix.names), []).append(scope)
        site = Site({(): root}, max(map(len, found), default=0))
        for names in sorted(found, key=len):
            around = site.place(names)
            for scope in found[names]:
                around = site.places[names] = _within(around, names, scope)
        return site

    @property
    def places(self) -> tuple[Place, ...]:
        """Every place of every site."""
        sites = {id(site): site for site in (*self._sites.values(), *self._wild.values())}
        return tuple(place for site in sites.values() for place in site.places.values())

    def site(self, host: str) -> Site:
        """The site of a host: its own name, the longest ``*.`` that fits, or the site that answers for all others."""
        found = self._sites.get(host)
        if found is not None:
            return found
        if self._wild:
            rest = host
            while rest:
                _, dot, rest = rest.partition(".")
                found = self._wild.get(dot + rest)
                if found is not None:
                    return found
        return self._sites[""]

    def root(self, authority: str) -> Place:
        """The root of the site of an authority."""
        return self.site(host_of(authority)).places[()]

    def name_of(self, authority: str) -> bytes:
        """The name of the site of an authority: the same for all hosts that it answers for."""
        return self.root(authority).host.encode("ascii")

    def find(self, host: str, path: bytes) -> Found | tuple[Place, Refused]:
        """The place that a raw path leads to, or the refusal of the path, with the place that answers it."""
        site = self.site(host_of(host))
        names = split(path)
        if isinstance(names, Refused):
            return site.places[()], names
        return Found(site, site.place(names[0]), *names)

    def look(self, found: Found, user: str = "") -> tuple[Place, Decision]:
        """What stands at a place, and the place whose options hold for it: an index file may lie in a scope of its own.

        If that has a gate of its own, the index file is reached by its own name only. A decision may hold a descriptor,
        which the caller closes.

        :param user: who signed in, or "".
        """
        decision = _stands(found.place, found.names, found.directory, user)
        if isinstance(decision, File) and decision.names != found.names:
            inner = found.site.place(decision.names)
            if inner.gate != found.place.gate:
                decision.close()
                return found.place, Redirect(join(decision.names, directory=False))
            if inner is not found.place:
                decision.close()
                return inner, _stands(inner, decision.names, False, user)
        return found.place, decision

    def takes_nothing(self, found: Found, decision: Decision, method: str) -> bool:
        """Whether a method is 405 where nothing can be served: it would change a file, and no place is here for one.

        What can be served says 405, too, so that the answer does not tell what is there. Below a CGI directory it stays
        what it is: methods are for scripts to take.
        """
        if method not in CHANGES or not isinstance(decision, Refused) or decision.status >= 500:
            return False
        place = found.place
        cgi = {name.lower() for name in place.policy.cgi}
        return all(name.lower() not in cgi for name in (*found.names, os.fsencode(place.docroot.name)))

    def instead(self, found: Found, decision: Decision, method: str, user: str = "") -> tuple[Place, File] | None:
        """What is sent where nothing stands: the fallback of the place, if that is a file behind the same gate."""
        path = found.place.settings.fallback
        if not path or method not in ("GET", "HEAD") or not isinstance(decision, Refused) or decision.status != 404:
            return None
        names = split(os.fsencode(path))
        if isinstance(names, Refused):
            return None
        place, there = self.look(Found(found.site, found.site.place(names[0]), *names), user)
        if isinstance(there, File) and place.gate == found.place.gate:
            return place, there
        close(there)
        return None


def _stands(place: Place, names: tuple[bytes, ...], directory: bool, user: str) -> Decision:
    at = len(place.docroot_at)
    try:
        docroot = place.root_of(user)
    except BadNameError:
        return Refused(403, "a root of users, and nobody signed in whose name a directory may have")
    way = Way(docroot=docroot, prefix=names[:at], names=names[at:], directory=directory)
    return go(way, place.policy)


def to_https(found: Found, request: Request) -> Moved | Refused | None:
    """Where a peer that came without TLS has to go, if the place wants it so."""
    settings = found.place.settings
    if settings.https != "redirect" or request.secure or found.names[:2] == ACME:
        return None
    port = "" if settings.https_port == 443 else f":{settings.https_port}"
    query = b"?" + request.query if request.query else b""
    own_names = (one for one in (found.place.host, *settings.names) if one and "*" not in one)
    host = host_of(request.host) or next(own_names, "")
    if not host:
        return Refused(400, "https = redirect, and the request names no host")
    location = f"https://{host}{port}".encode("ascii") + request.path + query
    return Moved(301 if request.method in ("GET", "HEAD") else 308, location, "https = redirect")


def elsewhere(found: Found, query: bytes) -> Moved | Mounted | None:
    """What answers before anything is looked for in the docroot."""
    settings = found.place.settings
    moved = redirect_to(settings.redirect, found.names, found.directory, query)
    if moved is not None:
        return Moved(*moved, "redirect")
    return Mounted(found.place.mount_at) if settings.mount else None
