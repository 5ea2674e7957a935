"""The SMTP commands that carry something: MAIL, RCPT, AUTH, BDAT, EHLO. Octets in, frozen values out. No I/O.

    MAIL FROM:<a@x> SIZE=9 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=abc AUTH=<> REQUIRETLS
                                                                     RFC 5321, 1870, 6152, 6531, 3461, 4954, 8689
    RCPT TO:<b@y> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@y            RFC 5321, 3461

Spaces behind the colon are let pass, as many programs send one. A source route is dropped (RFC 5321, appendix C).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from attrs import frozen

from netsvc.net.json_lines import Refusal
from netsvc.services.smtp_client.submission_wire import check_address
from netsvc.services.smtp_client.terms import NO_WISHES, Notice

MAX_COMMAND = 2048  # octets: 512 of RFC 5321 4.5.3.1.4, and what each extension adds, ORCPT's 500 the most
MAX_AUTH_LINE = 12_288  # octets, RFC 4954 4
MAX_HELO = 255  # octets of a domain, RFC 5321 4.5.3.1.2
MAX_ENVID = 100  # characters, RFC 3461 4.4
MAX_ORCPT = 500  # characters, RFC 3461 4.2
MAX_SIZE_DIGITS = 20  # RFC 1870 5

# What browsers and message headers begin with: a page may make a browser send such to a port of this machine.
_FOREIGN = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"))
_VERB = re.compile(rb"[A-Za-z]{1,16}")
_PATH = re.compile(r'(FROM|TO): *<((?:"(?:[^"\\]|\\.)*"|[^<>"])*)>(?: +(\S.*))?', re.IGNORECASE)
_ROUTE = re.compile(r"@[^:<>]*:")
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([!-<>-~\u0080-\U0010ffff]+))?")
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")  # RFC 3461 4
_ORCPT = re.compile(r"([A-Za-z0-9-]{1,50});([!-~\u00a0-\ud7ff\ue000-\U0010ffff]+)")
_WISHES = frozenset(("never", "success", "failure", "delay"))
_CHUNK = re.compile(r"([0-9]{1,20})( LAST)?", re.IGNORECASE)  # RFC 3030 2


class CommandError(Exception):
    """A command is not obeyed.

    :param code: of the reply.
    :param status: RFC 3463.
    :param text: for people.
    """

    def __init__(self, code: int, status: str, text: str) -> None:
        super().__init__(f"{code} {status} {text}")
        self.code = code
        self.status = status
        self.text = text


@frozen(kw_only=True)
class Mail:
    """What MAIL says.

    :param sender: empty is the null reverse-path.
    :param size: octets that are announced; None without SIZE.
    :param ret: ``full``, ``hdrs``, or empty.
    :param envid: decoded, or empty.
    :param require_tls: RFC 8689.
    """

    sender: str
    size: int | None = None
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    require_tls: bool = False


@frozen(kw_only=True)
class Rcpt:
    """What RCPT says."""

    recipient: str
    notice: Notice = NO_WISHES


@frozen
class Chunk:
    """What BDAT says."""

    octets: int
    is_last: bool


def split(line: bytes) -> tuple[str, bytes]:
    """The verb in upper case, empty when there is none, and what follows it."""
    verb, _, rest = line.rstrip(b" ").partition(b" ")
    return (verb.decode().upper(), rest.lstrip(b" ")) if _VERB.fullmatch(verb) else ("", b"")


def is_foreign(verb: str, line: bytes) -> bool:
    """Whether a line is not of SMTP but of another protocol, or of a message."""
    return verb in _FOREIGN or (not verb and line.partition(b" ")[0].endswith(b":"))


def mail(arguments: bytes, *, largest: int, secure: bool = False) -> Mail:
    """Read what follows MAIL.

    :param largest: octets that a message may have.
    :param secure: it came under TLS: only then there is REQUIRETLS.
    :raises CommandError: it is not acceptable.
    """
    known = ("SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH")
    path, given = _path(arguments, "FROM", (*known, "REQUIRETLS") if secure else known)
    for name in ("SMTPUTF8", "REQUIRETLS"):
        if given.get(name) is not None:
            raise CommandError(501, "5.5.4", f"{name} has no value")
    size = given.get("SIZE", "0")
    if size is None or not size.isascii() or not size.isdigit() or len(size) > MAX_SIZE_DIGITS:
        raise CommandError(501, "5.5.4", "SIZE is a number of octets")
    if int(size) > largest:
        raise CommandError(552, "5.3.4", f"the message is larger than {largest} octets")
    body = (given.get("BODY", "7BIT") or "").upper()
    if body not in ("7BIT", "8BITMIME"):
        raise CommandError(501, "5.5.4", "BODY is 7BIT or 8BITMIME")
    ret = (given.get("RET", "") or "").lower()
    if "RET" in given and ret not in ("full", "hdrs"):
        raise CommandError(501, "5.5.4", "RET is FULL or HDRS")
    envid = _decoded(given.get("ENVID", "") or "", "ENVID")
    if "ENVID" in given and not 0 < len(given["ENVID"] or "") <= MAX_ENVID:
        raise CommandError(501, "5.5.4", f"ENVID has 1 to {MAX_ENVID} characters")
    if "AUTH" in given and not (given["AUTH"] and _XTEXT.fullmatch(given["AUTH"])) and given["AUTH"] != "<>":
        raise CommandError(501, "5.5.4", "AUTH is <> or xtext")
    smtputf8 = "SMTPUTF8" in given
    if path:
        _check(path, smtputf8)
    announced = int(size) if "SIZE" in given else None
    require_tls = "REQUIRETLS" in given
    return Mail(sender=path, size=announced, smtputf8=smtputf8, ret=ret, envid=envid, require_tls=require_tls)


def rcpt(arguments: bytes, *, smtputf8: bool, host: str) -> Rcpt:
    """Read what follows RCPT.

    :param smtputf8: whether MAIL said so.
    :param host: our name, where a postmaster without a domain is (RFC 5321 4.1.1.3).
    :raises CommandError: it is not acceptable.
    """
    path, given = _path(arguments, "TO", ("NOTIFY", "ORCPT"))
    notice = _notice(given, smtputf8) if given else NO_WISHES
    if not path:
        raise CommandError(501, "5.1.3", "a recipient has an address")
    if path.lower() == "postmaster":
        path = f"{path}@{host}"
    _check(path, smtputf8)
    return Rcpt(recipient=path, notice=notice)


def helo(arguments: bytes) -> str:
    """The name that EHLO or HELO gives.

    :raises CommandError: it is none.
    """
    name = arguments.decode("ascii", "replace")
    if not 0 < len(arguments) <= MAX_HELO or not name.isascii() or not name.isprintable() or " " in name:
        raise CommandError(501, "5.5.4", "EHLO and HELO are followed by a name or an address literal")
    return name


def chunk(arguments: bytes) -> Chunk:
    """Read what follows BDAT.

    :raises CommandError: it is not a size.
    """
    match = _CHUNK.fullmatch(arguments.decode("ascii", "replace"))
    if match is None:
        raise CommandError(501, "5.5.4", "BDAT is followed by a number of octets, and LAST or nothing")
    return Chunk(int(match[1]), match[2] is not None)


def from_base64(octets: bytes) -> bytes:
    """What a client says in AUTH (RFC 4954 4); ``=`` is nothing.

    :raises CommandError: it is not base64.
    """
    if octets == b"=":
        return b""
    try:
        return base64.b64decode(octets, validate=True)
    except (binascii.Error, ValueError):
        raise CommandError(501, "5.5.2", "this is not base64") from None


def plain(octets: bytes) -> tuple[str, str] | None:
    """(user, password) of a PLAIN message (RFC 4616 2); None for what nobody can be, or for acting as another."""
    parts = octets.split(b"\0")
    if len(parts) != 3 or not parts[1] or parts[0] not in (b"", parts[1]):
        return None
    return login(parts[1], parts[2])


def login(user: bytes, password: bytes) -> tuple[str, str] | None:
    """(user, password) as text; None when they cannot be one."""
    try:
        found = user.decode(), password.decode()
    except UnicodeDecodeError:
        return None
    return found if "\0" not in found[0] + found[1] else None


def _decoded(xtext: str, name: str) -> str:
    """Text that came as xtext; RFC 3461 4 has visible ASCII in it only."""
    decoded = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), xtext)
    if not _XTEXT.fullmatch(xtext) or not decoded.isascii() or not decoded.isprintable():
        raise CommandError(501, "5.5.4", f"{name} is not xtext")
    return decoded


def _notice(given: Mapping[str, str | None], smtputf8: bool) -> Notice:
    """What the sender wants to hear about a recipient."""
    words = (given["NOTIFY"] or "").lower().split(",") if "NOTIFY" in given else []
    if not set(words) <= _WISHES:
        raise CommandError(501, "5.5.4", "NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY")
    orcpt = _original(given["ORCPT"] or "", smtputf8) if "ORCPT" in given else ""
    try:
        return Notice(notify=tuple(words), orcpt=orcpt)  # type: ignore[arg-type]  # the words were looked at
    except ValueError as error:
        raise CommandError(501, "5.5.4", str(error)) from None


def _original(given: str, smtputf8: bool) -> str:
    """The recipient as it was first: TYPE;ADDRESS, RFC 3461 4.2, RFC 6533 3."""
    match = _ORCPT.fullmatch(given)
    if match is None or len(given) > MAX_ORCPT:
        raise CommandError(501, "5.5.4", "ORCPT is a type, a semicolon and xtext")
    if given.isascii():
        return f"{match[1]};{_decoded(match[2], 'ORCPT')}"
    if not smtputf8 or match[1].lower() != "utf-8":
        raise CommandError(501, "5.6.7", "ORCPT needs SMTPUTF8 and the type utf-8")
    return given


def _check(address: str, smtputf8: bool) -> None:
    if not address.isascii() and not smtputf8:
        raise CommandError(553, "5.6.7", "the address needs SMTPUTF8")
    try:
        check_address(address)
    except Refusal as refusal:
        raise CommandError(553, refusal.code, refusal.text) from None


def _path(arguments: bytes, word: str, known: tuple[str, ...]) -> tuple[str, dict[str, str | None]]:
    try:
        text = arguments.decode()
    except UnicodeDecodeError:
        raise CommandError(501, "5.5.2", "this is neither ASCII nor UTF-8") from None
    match = _PATH.fullmatch(text)
    if match is None or match[1].upper() != word:
        raise CommandError(501, "5.5.2", f"this is not {word}:<ADDRESS>")
    given: dict[str, str | None] = {}
    for one in (match[3] or "").split():
        parameter = _PARAMETER.fullmatch(one)
        if parameter is None:
            raise CommandError(501, "5.5.4", "a parameter is not of the form NAME or NAME=VALUE")
        name = parameter[1].upper()
        if name not in known:
            raise CommandError(555, "5.5.4", f"the parameter {name[:MAX_ENVID]} is not known here")
        if name in given:
            raise CommandError(501, "5.5.4", f"{name} is given twice")
        given[name] = parameter[2]
    return _ROUTE.sub("", match[2], count=1) if match[2].startswith("@") else match[2], given
