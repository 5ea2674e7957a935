"""Tells what a URL means to a configuration, step by step, without a network and without a running daemon. No Twisted.

The steps are those of :mod:`.site.sites`, which the routes go as well.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from typing import Any

from attrs import field, frozen

from netsvc.config.listen import TcpAddress
from netsvc.config.scopes import a_labels
from netsvc.errors import BadValue
from netsvc.services.http.site.paths import Decision, Directory, File, Redirect, Refused, Script, close, join
from netsvc.services.http.site.sites import CHANGES, Found, Moved, Place, Request, Sites, elsewhere, to_https
from netsvc.services.http.static.media_types import MediaTypes, read_types_file

_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?(?:#.*)?")
_PORTS = {"http": 80, "https": 443}


@frozen(kw_only=True)
class Asked:
    """A URL, taken apart.

    :param port: that the URL says or means.
    """

    request: Request
    port: int

    @property
    def scheme(self) -> str:
        """Http or https."""
        return "https" if self.request.secure else "http"


@frozen
class Explanation:
    """What a URL means to one section.

    :param steps: (word, text) for people, in order.
    :param facts: the same for programs.
    """

    steps: list[tuple[str, str]] = field(factory=list)
    facts: dict[str, Any] = field(factory=dict)

    def say(self, word: str, text: str, **facts: Any) -> None:
        """Add a step."""
        self.steps.append((word, text))
        self.facts.update(facts)


def ask(url: str, method: str) -> Asked:
    """Take a URL apart.

    :raises BadValue: it is no http or https URL.
    """
    found = _URL.fullmatch(url)
    if found is None:
        raise BadValue(f"{url!r} is not a URL such as http://localhost:8000/index.html")
    authority = found["authority"].rpartition("@")[2]
    try:
        authority = a_labels(authority)
    except UnicodeError:
        raise BadValue(f"{authority!r} is not the name of a host") from None
    port = re.search(r":([0-9]{1,5})\Z", authority)
    # As a browser would send it: what is no ASCII, and blanks, percent-encoded.
    path, query = (
        re.sub(rb"[^!-~]", lambda one: b"%%%02X" % one[0][0], os.fsencode(part or ""))
        for part in (found["path"] or "/", found["query"])
    )
    return Asked(
        request=Request(host=authority, path=path, query=query, secure=found["scheme"] == "https", method=method),
        port=int(port[1]) if port else _PORTS[found["scheme"]],
    )


def listens_for(settings: Any, asked: Asked) -> bool:
    """Whether a section has a listener that this URL goes to."""
    return any(
        isinstance(one, TcpAddress) and one.port == asked.port and bool(one.tls) == asked.request.secure
        for one in settings.listen
    )


def explain(settings: Any, asked: Asked) -> Explanation:
    """What a URL means to one http section.

    :param settings: an HttpSettings.
    """
    told = Explanation()
    request = asked.request
    found = Sites(settings).find(request.host, request.path)
    if isinstance(found, tuple):
        place, refused = found
        _site(told, place)
        told.say("answer", f"{refused.status}: {refused.reason}", status=refused.status, reason=refused.reason)
        return told
    _site(told, found.place)
    told.say("path", os.fsdecode(join(found.names, directory=found.directory)), path=_text(found))
    told.say("place", f"[http {found.place}]" if found.place.prefix else "the root of the site", place=str(found.place))
    moved = to_https(found, request)
    if isinstance(moved, Refused):
        told.say("answer", f"{moved.status}: {moved.reason}", status=moved.status, reason=moved.reason)
        return told
    if moved is None:
        _gate(told, found.place)
        other = elsewhere(found, request.query)
        if other is None:
            _stands(told, Sites(settings), found, request)
            return told
        if not isinstance(other, Moved):
            resource = str(found.place.settings.mount)
            told.say("answer", f"the mounted resource {resource}", mount=resource)
            return told
        moved = other
    location = moved.location.decode("latin-1")
    told.say("answer", f"{moved.status} to {location} ({moved.reason})", status=moved.status, location=location)
    return told


def _text(found: Found) -> str:
    return "/" + "/".join(map(os.fsdecode, found.names))


def _site(told: Explanation, place: Place) -> None:
    text = place.host or "the one that answers to every name that no other claims"
    told.say("site", text, site=place.host)


def _gate(told: Explanation, place: Place) -> None:
    file = getattr(place.settings, "auth_file", None)
    if file:
        told.say("gate", f"a password of {file}", auth_file=str(file))


def _stands(told: Explanation, sites: Sites, found: Found, request: Request) -> None:
    method, query = request.method, request.query
    place, decision = sites.look(found)
    if place is not found.place:
        told.say("place", f"[http {place}], where the index file lies", place=str(place))
    instead = sites.instead(found, decision, method)
    close(decision)
    if instead is not None:
        path = found.place.settings.fallback
        told.say("fallback", f"{path} is sent, since nothing stands there", fallback=path)
        place, decision = instead
        close(decision)
    told.say("docroot", str(place.docroot), docroot=str(place.docroot))
    if found.place.settings.upload and method not in ("GET", "HEAD") and not isinstance(decision, Script):
        told.say("answer", _upload(found.place, method), upload=True)
        return
    nothing = sites.takes_nothing(found, decision, method)
    if nothing or (isinstance(decision, File | Directory | Redirect) and method not in ("GET", "HEAD")):
        if method == "OPTIONS":
            told.say("answer", "204: the methods for a file are GET, HEAD, OPTIONS", status=204)
        elif method in CHANGES:
            told.say("answer", f"405: {method} is for places that take files (upload = no)", status=405)
        else:
            told.say("answer", f"405: {method} is for scripts", status=405)
        return
    if isinstance(decision, Redirect) and query:
        decision = Redirect(decision.location + b"?" + query)
    _decision(told, place, decision)


def _upload(place: Place, method: str) -> str:
    """What a place that takes files does with a method."""
    settings = place.settings
    if (method == "DELETE" and not settings.upload_delete) or (method == "MKCOL" and not settings.upload_directories):
        key = "upload_delete" if method == "DELETE" else "upload_directories"
        return f"405: {key} = no"
    who = "whoever signs in, as upload_access says" if settings.auth_file else "anybody"
    return f"files are taken here, from {who} (upload = yes)"


def _type(place: Place, name: bytes) -> str:
    """The media type of a file by the options of its place; a types_file that cannot be read has none."""
    settings = place.settings
    others = {}
    if settings.types_file is not None:
        with suppress(OSError):
            others = read_types_file(settings.types_file)
    return MediaTypes(dict(settings.types), others).of(name).decode("latin-1")


def _decision(told: Explanation, place: Place, decision: Decision) -> None:
    if isinstance(decision, Script):
        file = str(decision.filename)
        told.say("answer", f"runs {file}", script=file, script_name=decision.script_name, path_info=decision.path_info)
        told.say("", f"SCRIPT_NAME {decision.script_name}")
        if decision.path_info:
            told.say("", f"PATH_INFO {decision.path_info}")
        if not decision.filename.is_file():
            told.say("but", "there is no such file: 404", status=404)
        elif not os.access(decision.filename, os.X_OK):
            if place.settings.cgi_source == "text":
                told.say("but", "it has no execute bit, and cgi_source = text: it is shown")
            else:
                told.say("but", "it has no execute bit: 403; see cgi-check", status=403)
    elif isinstance(decision, File):
        kind = _type(place, decision.path.rpartition(b"/")[2])
        file = os.fsdecode(decision.path)
        size = decision.stat.st_size
        told.say("answer", f"200: the file {file} ({kind}, {size} octets)", status=200, file=file, type=kind, size=size)
    elif isinstance(decision, Redirect):
        location = decision.location.decode("latin-1")
        reason = (
            "a directory ends with a slash"
            if location.partition("?")[0].endswith("/")
            else "its index file has a gate of its own"
        )
        told.say("answer", f"301 to {location}: {reason}", status=301, location=location)
    elif isinstance(decision, Directory):
        status = 200 if place.settings.listing else 403
        text = "a list of the directory" if place.settings.listing else "a directory without index; listing = no"
        told.say("answer", f"{status}: {text}", status=status)
    else:
        told.say("answer", f"{decision.status}: {decision.reason}", status=decision.status, reason=decision.reason)
