"""The protocol of the submission socket, without I/O: bounded, strict, one JSON line a request, the message behind it.

    -> {"v": 1, "command": "send", "sender": "a@x", "recipients": ["b@x"], "length": 5, "key": "k"} LF  hello
    <- {"ok": true, "id": "...", "repeated": false} LF
    <- {"ok": false, "code": "4.3.1", "text": "..."} LF          an RFC 3463 status: 4 is try again, 5 is never

``sender`` may be empty (the null reverse-path); ``key`` may be left out, and so may what the sender wants to hear (DSN,
RFC 3461): ``ret`` (full or hdrs), ``envid``, and ``notices`` ({"b@x": [["success", "delay"], "rfc822;b@x"]}: for a
recipient when to tell, and how he was first written); ``require_tls`` (true: only over verified TLS, all the way, RFC
8689); ``domain`` (of recipients without one, where the daemon has no ``origin``); and ``sms`` ({"to": ["+49..."],
"text": "...", "after": 600}: a text message that goes if the mail is not delivered after so many seconds; the reply has
``sms_refused`` if there will be none although the mail was taken). The other commands are

    queue (after, limit, done, whole)        what waits; with done what is finished, too; with whole each recipient
    show (id), explain (id), audit
    hold, release, requeue, remove, flush    one of: id, domain, all (true)
    route (address, sender, domain)          what would become of a message to an address or a name without a domain
    suppress (address, reason), unsuppress (address), suppressed (after, limit)

Requests follow each other on one connection; each is answered before the next is looked at. What is malformed
is answered and ends the connection. Standard library only: the command uses it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any, NamedTuple

from netsvc.net import json_lines
from netsvc.net.json_lines import MalformedError, Refusal, read_command

MAX_HEAD = 400_000  # octets of the JSON line: 1,000 recipients of 254 octets, some escaped
MAX_RECIPIENTS = 1000  # RFC 5321 4.5.3.1.8 asks for 100 at least
MAX_ADDRESS = 254  # octets: a path is 256 with its angle brackets, RFC 5321 4.5.3.1.3
MAX_LOCAL_PART = 64  # octets, RFC 5321 4.5.3.1.1
MAX_KEY = 200  # characters of an idempotency key: a UUID, a URL, a Message-ID
MAX_SHOWN_ID = 64  # characters of what is no queue id that are said back
MAX_PAGE = 1000  # items in one answer to queue
MAX_AFTER = 30 * 86_400  # seconds until a text message goes
MAX_REASON = 500  # characters of why an address is suppressed
_REMEMBERED = 1024  # addresses that were found to be good, each of MAX_ADDRESS octets at most

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]|[^\x00-\x7f]"  # atext, RFC 5321 4.1.2, with dots anywhere, and RFC 6531 3.3
_LOCAL = re.compile(rf'(?:{_ATOM})+|"(?:[ !#-\[\]-~]|[^\x00-\x7f]|\\[ -~])*"')
_LABEL = r"(?!-)(?:[A-Za-z0-9_-]|[^\x00-\x7f]){1,63}(?<!-)"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*|\[[A-Za-z0-9.:-]{{1,64}}\]")
_ID = re.compile(r"[0-9a-z]{1,64}")


class Sms(NamedTuple):
    """A text message that goes if the mail is not delivered so many seconds after it was taken."""

    to: tuple[str, ...]
    text: str
    after: float

    def __repr__(self) -> str:
        return f"<Sms to {len(self.to)}>"


class Send(NamedTuple):
    """A message to take in, whole."""

    sender: str
    recipients: tuple[str, ...]
    key: str | None
    length: int
    content: bytes = b""
    ret: str = ""
    envid: str = ""
    notices: Mapping[str, tuple[tuple[str, ...], str]] = MappingProxyType({})
    sms: Sms | None = None
    require_tls: bool = False
    domain: str = ""


class Query(NamedTuple):
    """Any other command. What does not belong to it has its default."""

    command: str
    id: str = ""
    after: str = ""
    limit: int = MAX_PAGE
    done: bool = False
    whole: bool = False
    domain: str = ""
    all: bool = False
    address: str = ""
    sender: str = ""
    reason: str = ""


OPERATIONS = ("hold", "release", "requeue", "remove", "flush")
_QUERIES = {
    "queue": frozenset({"after", "limit", "done", "whole"}),
    "show": frozenset({"id"}),
    "explain": frozenset({"id"}),
    "audit": frozenset[str](),
    "route": frozenset({"address", "sender", "domain"}),
    "suppress": frozenset({"address", "reason"}),
    "unsuppress": frozenset({"address"}),
    "suppressed": frozenset({"after", "limit"}),
    **dict.fromkeys(OPERATIONS, frozenset({"id", "domain", "all"})),
}
_SEND = frozenset({"sender", "recipients", "length", "key", "ret", "envid", "notices", "sms", "require_tls", "domain"})


@lru_cache(maxsize=_REMEMBERED)  # one address is looked at three times on its way in, and many come again
def check_address(address: str) -> str:
    """The address, if it may stand between angle brackets in SMTP: ``local@domain``, RFC 5321 4.1.2 and RFC 6531 3.3.

    :raises Refusal: it may not.
    """
    local, at, domain = address.rpartition("@")
    wrong = None
    if not at:
        wrong = "has no domain"
    elif not address.isprintable():
        wrong = "has a character that cannot be shown"
    elif len(address.encode("utf-8", "surrogatepass")) > MAX_ADDRESS:
        wrong = f"is longer than {MAX_ADDRESS} octets"
    elif not _LOCAL.fullmatch(local) or len(local.encode()) > MAX_LOCAL_PART:
        wrong = "has no valid part before the @"
    elif not _DOMAIN.fullmatch(domain):
        wrong = "has no valid domain"
    if wrong is not None:
        raise Refusal("5.1.3", f"the address {address[:MAX_ADDRESS]!a} {wrong}")
    return address


def check_name(name: str) -> str:
    """The name, if it is an address or the part of one before the @, which rewriting and aliases may complete.

    :raises Refusal: it is neither.
    """
    if "@" in name:
        return check_address(name)
    check_address(f"{name}@x")
    return name


def is_id(text: str) -> bool:
    """Whether the text may be a queue id."""
    return _ID.fullmatch(text) is not None


def parse_head(line: bytes, *, max_recipients: int = MAX_RECIPIENTS) -> Send | Query:
    """Read the JSON line of a request, without its line end.

    :raises MalformedError: it is not of the form that the module's head shows.
    :raises Refusal: it is, but an address or a key is not acceptable.
    """
    command, head = read_command(line)
    if command == "send":
        return _parse_send(head, max_recipients)
    known = _QUERIES.get(command)
    if known is None:
        raise MalformedError("there is no such command")
    return _parse_query(command, head, known)


def _parse_send(head: dict[str, Any], max_recipients: int) -> Send:
    sender, recipients, length = head.get("sender"), head.get("recipients"), head.get("length")
    key, ret, envid = head.get("key"), head.get("ret", ""), head.get("envid", "")
    notices, require_tls = _notices(head.get("notices", {})), head.get("require_tls", False)
    domain = head.get("domain", "")
    sms = _sms(head["sms"]) if "sms" in head else None
    if not (
        head.keys() <= _SEND
        and isinstance(sender, str)
        and isinstance(recipients, list)
        and all(isinstance(one, str) for one in recipients)
        and type(length) is int
        and length >= 0
        and (key is None or isinstance(key, str))
        and isinstance(ret, str)
        and isinstance(envid, str)
        and type(require_tls) is bool
        and isinstance(domain, str)
        and notices is not None
        and notices.keys() <= set(recipients)
    ):
        raise MalformedError("a name or a type in the request is wrong")
    if not recipients:
        raise MalformedError("there is no recipient", "5.5.4")
    if len(recipients) > max_recipients:
        raise MalformedError(f"there are more than {max_recipients} recipients", "5.5.3")
    unique = tuple(dict.fromkeys(recipients))
    try:
        if sender:
            check_name(sender)
        for one in unique:
            check_name(one)
        if domain:
            check_address(f"x@{domain}")
    except Refusal as refusal:
        raise MalformedError(refusal.text, refusal.code) from None
    if key is not None and not (0 < len(key) <= MAX_KEY and key.isprintable()):
        raise MalformedError(f"a key has 1 to {MAX_KEY} printable characters", "5.5.4")
    return Send(
        sender,
        unique,
        key,
        length,
        ret=ret,
        envid=envid,
        notices=notices,
        sms=sms,
        require_tls=require_tls,
        domain=domain,
    )


def _sms(value: Any) -> Sms:
    """A text message; numbers and text are looked at by who sends it."""
    if not (
        isinstance(value, dict)
        and value.keys() == {"to", "text", "after"}
        and isinstance(value["to"], list)
        and all(isinstance(one, str) for one in value["to"])
        and isinstance(value["text"], str)
        and type(value["after"]) in (int, float)
    ):
        raise MalformedError("a name or a type in the request is wrong")
    if not 0 <= value["after"] <= MAX_AFTER:
        raise MalformedError(f"a text message goes after {MAX_AFTER} s at most", "5.5.4")
    return Sms(tuple(value["to"]), value["text"], float(value["after"]))


def _notices(value: Any) -> Mapping[str, tuple[tuple[str, ...], str]] | None:
    """By recipient, or None where a type is wrong; what it means is looked at by who knows DSN."""
    try:
        found = {address: (tuple(wishes), original) for address, (wishes, original) in value.items()}
    except (AttributeError, TypeError, ValueError):
        return None
    whole = all(
        isinstance(original, str) and isinstance(value[one][0], list) and all(isinstance(wish, str) for wish in wishes)
        for one, (wishes, original) in found.items()
    )
    return found if whole else None


def _parse_query(command: str, head: dict[str, Any], known: frozenset[str]) -> Query:
    query = Query(command, **{name: value for name, value in head.items() if name in known})
    if not (
        head.keys() <= known
        and all(isinstance(one, str) for one in (query.id, query.after, query.domain, query.reason))
        and all(isinstance(one, str) for one in (query.address, query.sender))
        and type(query.limit) is int
        and 1 <= query.limit <= MAX_PAGE
        and type(query.done) is bool
        and type(query.whole) is bool
        and type(query.all) is bool
    ):
        raise MalformedError("a name or a type in the request is wrong")
    chosen = [one for one in (query.id, query.domain, query.all) if one]
    if command in OPERATIONS and (len(chosen) != 1 or len(head) != 1):
        raise MalformedError(f"{command} is about one of id, domain and all")
    ids = [query.id] if "id" in head or command in ("show", "explain") else []
    if query.after and command == "queue":
        ids.append(query.after)
    for one in ids:
        if not is_id(one):
            raise MalformedError(f"{one[:MAX_SHOWN_ID]!a} is not a queue id")
    if "address" in known:
        try:
            check_name(query.address) if command == "route" else check_address(query.address)
            if query.sender:
                check_name(query.sender)
            if query.domain:
                check_address(f"x@{query.domain}")
        except Refusal as refusal:
            raise MalformedError(refusal.text, refusal.code) from None
    if not query.reason.isprintable() or len(query.reason) > MAX_REASON:
        raise MalformedError(f"a reason has at most {MAX_REASON} printable characters", "5.5.4")
    return query


class RequestReader(json_lines.RequestReader[Send | Query]):
    """Cuts what arrives on one connection into requests.

    :param max_message: octets; a longer one is refused at its head, before it is read.
    """

    def __init__(self, *, max_message: int, max_recipients: int = MAX_RECIPIENTS) -> None:
        super().__init__(partial(parse_head, max_recipients=max_recipients), MAX_HEAD, "the first line")
        self._max_message = max_message
        self.pending: Send | None = None  # the head of a message whose octets are still arriving

    @property
    def idle(self) -> bool:
        """Whether nothing of a next request has come."""
        return self.pending is None and super().idle

    @property
    def announced(self) -> int:
        """Octets of the message that is arriving."""
        return 0 if self.pending is None else self.pending.length

    def next(self) -> Send | Query | None:
        """The next request that is whole, or None.

        :raises MalformedError: there is none to be had any more.
        """
        if self.pending is None:
            head = super().next()
            if not isinstance(head, Send):
                return head
            if head.length > self._max_message:
                raise MalformedError(f"the message is larger than {self._max_message} octets", "5.3.4")
            self.pending = head
        content = self.take(self.pending.length)
        if content is None:
            return None
        whole = self.pending._replace(content=content)
        self.pending = None
        return whole
