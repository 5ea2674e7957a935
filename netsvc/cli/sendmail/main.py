"""``netsvc-sendmail``, the command: one exit status of sysexits(3), one line on standard error when it is not 0.

What a mode needs is imported when it is asked for: the way from standard input to the queue must take no time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

from netsvc.cli.connection import CommandError, Unreachable
from netsvc.cli.mail_connection import EX_DATAERR, EX_IOERR, EX_OK, EX_TEMPFAIL, EX_USAGE
from netsvc.cli.sendmail import head, people, submit
from netsvc.cli.sendmail.addresses import AddressError, addresses, is_qualified
from netsvc.cli.sendmail.options import Options, UsageError, parse
from netsvc.printable import printable

EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE
READ = 1 << 16  # octets of SMTP at once
MAX_MESSAGE = 1 << 29  # octets: no daemon takes more (smtp_client's max_message), so no more is read


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    :param argv: the program's name and its arguments; None for those of the process.
    :return: the exit status.
    """
    argv = sys.argv if argv is None else argv
    program = argv[0].rpartition("/")[2]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character is no failure
    try:
        return _run(parse(argv[0], argv[1:]))
    except (UsageError, AddressError) as error:
        return _failed(program, EX_USAGE, str(error))
    except CommandError as error:
        # That there is no daemon just now is a reason to try again later, for a program that can.
        return _failed(program, EX_TEMPFAIL if isinstance(error, Unreachable) else error.status, str(error))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # lest the interpreter complain when it flushes at exit
        return EXIT_BROKEN_PIPE
    except OSError as error:
        return _failed(program, EX_IOERR, str(error))


def _failed(program: str, status: int, text: str) -> int:
    print(f"{printable(program)}: {printable(text)}", file=sys.stderr)
    return status


def _run(options: Options) -> int:
    match options.mode:
        case "smtp":
            return _smtp()
        case "verify":
            return _verify(options)
        case "aliases":
            print("aliases are a part of the daemon's configuration; there is nothing to rebuild")
            return EX_OK
        case "queue" | "flush":
            from netsvc.cli.sendmail import mailq

            with submit.connect(os.environ) as connection:
                if options.mode == "queue":
                    mailq.show(connection, sys.stdout)
                else:
                    mailq.flush(connection, options.flush_what)
            sys.stdout.flush()
            return EX_OK
    return _deliver(options)


def _deliver(options: Options) -> int:
    if not options.recipients and not options.from_header:
        raise UsageError("recipients stand on the command line, or in the message with -t")
    recipients = [one for word in options.recipients for one in addresses(word)]
    sender = _sender(options.sender)
    # Without a standard input, which some daemons close for their children, the message is empty.
    content = b"" if sys.stdin is None else head.with_whole_lines(_read(sys.stdin.buffer, options.dot_ends))
    found = head.read(content)
    if options.from_header:
        try:
            recipients += [one for field in head.recipient_fields(found) for one in addresses(field)]
        except AddressError as error:
            raise CommandError(EX_DATAERR, str(error)) from None
    if not any(recipients):
        raise UsageError("the message names no recipient")
    if not any(name == b"from" for name, _ in found.fields):
        login, name = people.user(os.environ)
        shown = options.full_name if options.full_name is not None else name
        content = head.with_from(content, found, people.mailbox(shown, sender or _qualified(login)))
    request: dict[str, Any] = {
        "sender": sender,
        "recipients": list(dict.fromkeys(_recipient(one) for one in recipients if one)),
    }
    if not all(map(is_qualified, request["recipients"])):
        request["domain"] = people.origin()
    key, content = head.take_key(content, head.read(content))
    if key:
        request["key"] = key
    _add_wishes(request, options)
    queue_id = submit.hand_in(request, content, os.environ)
    if options.verbose:
        print(f"queued as {queue_id}")
        sys.stdout.flush()
    return EX_OK


def _add_wishes(request: dict[str, Any], options: Options) -> None:
    """What the sender wants to be told of, RFC 3461."""
    if options.ret is not None:
        request["ret"] = options.ret
    if options.envid:
        request["envid"] = options.envid
    if options.notify:
        request["notices"] = {one: [options.notify, ""] for one in request["recipients"]}


def _sender(given: str | None) -> str:
    """The envelope's sender: of -f, else who runs this; ``<>`` and an empty one are nobody."""
    if given is None:
        return _qualified(people.user(os.environ)[0])
    found = addresses(given)
    if len(found) > 1:
        raise UsageError("-f has one address")
    return _qualified(found[0]) if found and found[0] else ""


def _qualified(address: str) -> str:
    return _recipient(address) if is_qualified(address) else f"{address}@{people.origin()}"


def _recipient(address: str) -> str:
    """The address as SMTP has it; a name without a domain is for the daemon, which may have an alias or an origin."""
    if not is_qualified(address) or address.isascii():
        return address
    from netsvc.services.smtp_client.domains import a_labels

    local, at, domain = address.rpartition("@")
    try:
        return local + at + a_labels(domain)
    except ValueError:
        raise AddressError(f"{domain!a} is not a domain") from None


def _read(source: BinaryIO, dot_ends: bool) -> bytes:
    """The message: all of the input, or up to a line that is a dot."""
    if dot_ends:
        lines, octets = [], 0
        while octets <= MAX_MESSAGE and (line := source.readline(MAX_MESSAGE)) and line.rstrip(b"\r\n") != b".":
            lines.append(line)
            octets += len(line)
        content = b"".join(lines)
    else:
        content = source.read(MAX_MESSAGE + 1)
    if len(content) > MAX_MESSAGE:
        raise CommandError(EX_DATAERR, f"5.3.4 the message is larger than {MAX_MESSAGE} octets")
    return content


def _smtp() -> int:
    from netsvc.cli.sendmail.smtp import serve

    def hand_in(request: dict[str, Any], content: bytes) -> str:
        return submit.hand_in(request, content, os.environ)

    def write(octets: bytes) -> None:
        sys.stdout.buffer.write(octets)
        sys.stdout.flush()

    def read() -> bytes:
        return os.read(sys.stdin.fileno(), READ)

    serve(read, write, hand_in, host=people.origin(), max_message=MAX_MESSAGE)
    return EX_OK


def _verify(options: Options) -> int:
    from netsvc.cli.sendmail.verify import verify

    if not options.recipients:
        raise UsageError("-bv needs addresses")
    sender = _sender(options.sender)
    with submit.connect(os.environ) as connection:
        status = verify(connection, options.recipients, _recipient, (sender, people.origin()), sys.stdout)
    sys.stdout.flush()
    return status
