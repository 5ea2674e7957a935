"""``netsvc mail send``: builds a MIME message from arguments and standard input, and hands it to the queue."""

from __future__ import annotations

import argparse
import contextlib
import os
import pwd
import socket
import sys
from datetime import datetime
from pathlib import Path

from netsvc.cli.connection import CommandError
from netsvc.cli.mail_connection import EX_DATAERR, EX_NOINPUT, EX_OK, Connection
from netsvc.cli.mail_socket import add_where, find_socket
from netsvc.net.json_lines import Refusal
from netsvc.printable import printable
from netsvc.services.smtp_client import message
from netsvc.services.smtp_client.submission_wire import MAX_AFTER, check_address, is_id

EPILOG = """\
The text comes from standard input, UTF-8. Addresses may have names in any script, and
several may stand in one argument: --to '汤众 <a@example.com>, b@example.com'.
Prints the queue id and exits with 0 once the message is safely on disk; otherwise
one line says why, with a status of sysexits(3): 65 the message is refused,
66 a file cannot be read, 69 no mail service runs, 75 try again later, 77 not allowed.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    for name, whom in (("to", "to whom"), ("cc", "copies"), ("bcc", "copies that the others do not see")):
        parser.add_argument(f"--{name}", metavar="ADDRESS", action="append", default=[], help=whom)
    parser.add_argument("--from", metavar="ADDRESS", dest="sender", help="from whom ($EMAIL, or you at this machine)")
    parser.add_argument("--reply-to", metavar="ADDRESS", action="append", default=[], help="where answers shall go")
    parser.add_argument(
        "--envelope-from", metavar="ADDRESS", help="where bounces go, if not to --from; '<>' is nowhere"
    )
    parser.add_argument("--subject", metavar="TEXT", default="", help="in any script")
    parser.add_argument("--attach", metavar="FILE", action="append", default=[], help="a file to go along")
    parser.add_argument(
        "--html", metavar="FILE", nargs="?", const="", help="an HTML form of the text; without FILE, the input is HTML"
    )
    parser.add_argument("--header", metavar="'NAME: TEXT'", action="append", default=[], help="a further field")
    parser.add_argument("--key", help="sending again with the same key gives the same queue id and no second message")
    parser.add_argument(
        "--require-tls", action="store_true", help="only over verified TLS, all the way (RFC 8689); else it comes back"
    )
    parser.add_argument(
        "--sms-to", metavar="NUMBER", action="append", default=[], help="a text message if the mail is not delivered"
    )
    parser.add_argument(
        "--sms-after",
        metavar="TIME",
        default="10m",
        help="how long it waits for that (10m); sooner if the mail bounces",
    )
    parser.add_argument("--sms-text", metavar="TEXT", help="what it says, if not the subject")
    parser.add_argument("--dry-run", action="store_true", help="print the message instead")
    add_where(parser)


def run(arguments: argparse.Namespace) -> int:
    """Send; the exit status.

    :raises CommandError: it was not taken.
    """
    try:
        built = message.build(_draft(arguments), now=datetime.now().astimezone())
        sender = _envelope_sender(arguments.envelope_from, built.sender)
    except Refusal as refusal:
        raise CommandError(EX_DATAERR, f"{refusal.code} {refusal.text}") from None
    if arguments.dry_run:
        sys.stdout.buffer.write(built.content)
        return EX_OK
    request = {
        "command": "send",
        "sender": sender,
        "recipients": list(built.recipients),
        "length": len(built.content),
    }
    if arguments.key is not None:
        request["key"] = arguments.key
    if arguments.require_tls:
        request["require_tls"] = True
    if arguments.sms_to:
        text = arguments.subject if arguments.sms_text is None else arguments.sms_text
        request["sms"] = {"to": arguments.sms_to, "text": text, "after": _seconds(arguments.sms_after)}
    with Connection(find_socket(arguments)) as connection:
        reply = connection.ask(request, built.content)
        queue_id = str(reply.get("id"))
        if not is_id(queue_id):
            raise connection.stranger()
    for address, reason in reply.get("refused", {}).items():
        print(printable(f"netsvc mail send: not to {address}: {reason}"), file=sys.stderr)
    if "sms_refused" in reply:  # the mail was taken, and must not be handed in again
        print(printable(f"netsvc mail send: no text message will follow: {reply['sms_refused']}"), file=sys.stderr)
    print(queue_id)
    return EX_OK


def _seconds(text: str) -> float:
    from netsvc.config.options import Context
    from netsvc.config.values import duration
    from netsvc.errors import BadValue

    try:
        return duration(0, MAX_AFTER).parse(text, Context(Path("/")))
    except BadValue as bad:
        raise CommandError(EX_DATAERR, f"--sms-after: {bad.message}") from None


def _draft(arguments: argparse.Namespace) -> message.Draft:
    text = _input()
    html = None
    if arguments.html == "":
        text, html = "", text
    elif arguments.html is not None:
        html = _decoded(_file(arguments.html), arguments.html)
    senders = message.parse_mailboxes(arguments.sender or os.environ.get("EMAIL") or _myself())
    if len(senders) > 1:
        raise Refusal("5.5.4", "a message is from one address")
    headers = [("Reply-To", ", ".join(arguments.reply_to))] if arguments.reply_to else []
    for one in arguments.header:
        name, colon, value = one.partition(":")
        if not colon:
            raise Refusal("5.6.0", f"{one!r} is not 'NAME: TEXT'")
        headers.append((name.strip(), value))
    return message.Draft(
        sender=senders[0],
        to=_mailboxes(arguments.to),
        cc=_mailboxes(arguments.cc),
        bcc=_mailboxes(arguments.bcc),
        subject=arguments.subject,
        text=text,
        html=html,
        attachments=[message.Attachment(os.path.basename(one), _file(one)) for one in arguments.attach],
        headers=headers,
    )


def _envelope_sender(given: str | None, sender: str) -> str:
    if given is None:
        return sender
    return "" if given in ("", "<>") else check_address(given)


def _mailboxes(texts: list[str]) -> tuple[message.Mailbox, ...]:
    return tuple(mailbox for text in texts for mailbox in message.parse_mailboxes(text))


def _input() -> str:
    try:
        octets = sys.stdin.buffer.read() if sys.stdin is not None else b""
    except OSError as error:
        raise CommandError(EX_NOINPUT, f"standard input: {error.strerror}") from None
    return _decoded(octets, "standard input")


def _decoded(octets: bytes, what: str) -> str:
    try:
        return octets.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(EX_DATAERR, f"{what} is not UTF-8 text (octet {error.start})") from None


def _file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CommandError(EX_NOINPUT, f"{path}: {reason}") from None


def _myself() -> str:
    """Who runs this, as user at machine; not asked of the DNS, which may be slow."""
    name, shown = str(os.getuid()), ""
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(os.getuid())
        name, shown = entry.pw_name, entry.pw_gecos.partition(",")[0]
    address = f"{name}@{socket.gethostname()}"
    quoted = shown.replace("\\", "").replace('"', "")
    return f'"{quoted}" <{address}>' if quoted else address
