"""The MAIL and RCPT lines of one message for one server, with the parameters that it offers. No I/O, no Twisted.

SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531), RET, ENVID, NOTIFY and ORCPT (RFC 3461), REQUIRETLS (RFC 8689).
"""

from __future__ import annotations

import re

from attrs import frozen

from netsvc.services.smtp_client.replies import Capabilities
from netsvc.services.smtp_client.terms import Envelope, Notice
from netsvc.services.smtp_client.transcode import Prepared, UnsendableError
from netsvc.services.smtp_client.wire import ascii_mailbox, command, valid_mailbox

# RFC 3461 4: xchar is any printable ASCII but "+" and "="
_NO_XCHAR = re.compile(r"[^!-*,-<>-~]")
# RFC 6533 3: QCHAR of utf-8-addr-xtext is that without the backslash; the form needs no SMTPUTF8
_NO_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


def xtext(text: str) -> str:
    """Printable ASCII as a parameter's value (RFC 3461 4)."""
    return _NO_XCHAR.sub(lambda found: f"+{ord(found[0]):02X}", text)


def original(orcpt: str) -> str:
    """The value of ORCPT: xtext, or for the type utf-8 the ASCII form of RFC 6533 3."""
    kind, _, address = orcpt.partition(";")
    if kind.lower() == "utf-8":
        return f"{kind};" + _NO_QCHAR.sub(lambda found: rf"\x{{{ord(found[0]):02X}}}", address)
    return f"{kind};{xtext(address)}"


@frozen
class Commands:
    """What introduces a message.

    :param mail: the MAIL line.
    :param rcpt: place in the envelope -> RCPT line.
    :param unnameable: place in the envelope -> why this server cannot be told of that recipient.
    :param notices: whether the server takes over the duty of notices.
    """

    mail: bytes
    rcpt: dict[int, bytes]
    unnameable: dict[int, UnsendableError]
    notices: bool


def commands(envelope: Envelope, message: Prepared, capabilities: Capabilities) -> Commands:
    """The lines for a server that offers these. UnsendableError when it cannot take the message at all."""
    limit, size = capabilities.size_limit, len(message.content)
    if limit is not None and size > limit:
        raise UnsendableError("5.3.4", f"the message has {size} octets and the server takes {limit}")
    utf8 = "SMTPUTF8" in capabilities
    try:
        sender = _path(envelope.sender, utf8) if envelope.sender else "<>"
    except UnsendableError as error:
        status = "5.1.7" if error.enhanced == "5.1.3" else error.enhanced
        raise UnsendableError(status, f"the sender: {error.reason}") from None
    paths: dict[int, str] = {}
    unnameable: dict[int, UnsendableError] = {}
    for at, recipient in enumerate(envelope.recipients):
        try:
            paths[at] = _path(recipient, utf8)
        except UnsendableError as error:
            unnameable[at] = error
    notices = "DSN" in capabilities
    rcpt = {
        at: command("RCPT", f"TO:{path}", *(_wishes(envelope.notices.get(envelope.recipients[at])) if notices else ()))
        for at, path in paths.items()
    }
    parameters = []
    if "SIZE" in capabilities:
        parameters.append(f"SIZE={size}")
    if message.eight_bit:
        parameters.append("BODY=8BITMIME")
    if message.utf8_header or not all(map(str.isascii, (sender, *paths.values()))):
        parameters.append("SMTPUTF8")
    if envelope.require_tls and "REQUIRETLS" in capabilities:  # only a bounce goes without
        parameters.append("REQUIRETLS")
    if notices and envelope.ret is not None:
        parameters.append(f"RET={envelope.ret.upper()}")
    if notices and envelope.envid:
        parameters.append(f"ENVID={xtext(envelope.envid)}")
    return Commands(command("MAIL", f"FROM:{sender}", *parameters), rcpt, unnameable, notices)


def _path(address: str, utf8: bool) -> str:
    if not valid_mailbox(address):
        raise UnsendableError("5.1.3", "the address breaks the syntax of RFC 5321 4.1.2")
    plain = address if utf8 else ascii_mailbox(address)
    if plain is None:
        raise UnsendableError("5.6.7", "the address is not ASCII and the server does not offer SMTPUTF8")
    return f"<{plain}>"


def _wishes(notice: Notice | None) -> list[str]:
    parameters = []
    if notice is not None and notice.notify:
        parameters.append("NOTIFY=" + ",".join(notice.notify).upper())
    if notice is not None and notice.orcpt:
        parameters.append(f"ORCPT={original(notice.orcpt)}")
    return parameters
