"""What is handed in at each point: a few messages by each way in, with what the peer will do about them. Pure.

What is to become of a recipient stands in front of his address, what the peer does at the dot in the message:

    ok     taken            later  450 once, then taken        never  550        slow   taken, after a while
"""

from __future__ import annotations

import random

from attrs import field, frozen

from netsvc.cli.torture.content import digest
from netsvc.cli.torture.terms import MARK

DOMAIN = "one.example"
SENDER = "sender"  # before the hyphen and the mark; bounces go there
IN_DATABASE = 200 << 10  # octets of a content that has no file of its own
LOGGED = 7  # of these, and the log is nearly full
LISTENER, SOCKET, ENDPOINT = WAYS = ("listener", "socket", "endpoint")


@frozen(kw_only=True)
class Message:
    """A message.

    :param name: unlike all others.
    :param way: by which it is handed in.
    :param size: octets of its body, about.
    :param dot: what the peer does once in place of 250 at the dot: ``defer`` says 451, ``cut`` takes the message and
        closes without a word, ``drop`` closes without it.
    :param null: it has the null sender, as a bounce has.
    :param twice: it is handed in again as soon as it is acknowledged.
    """

    name: str
    way: str
    recipients: tuple[str, ...]
    size: int = 500
    dot: str = "take"
    key: str | None = None
    null: bool = False
    twice: bool = False
    eight_bit: bool = False
    content: bytes = field(init=False, repr=False)

    @content.default
    def _content(self) -> bytes:
        dice = random.Random(self.name)
        letters = "abcdefghij klmnopqrst .äöü中文" if self.eight_bit else "abcdefghij klmnopqrst ."
        lines: list[str] = [".", "..two dots"]
        room = self.size
        while room > 0:
            lines.append("".join(dice.choices(letters, k=min(70, room))))
            room -= 71
        head = f"From: <a@{DOMAIN}>\r\nSubject: {self.name}\r\n{MARK.decode()}: {self.name}\r\nMIME-Version: 1.0\r\n"
        kind = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        return (head + kind + "\r\n".join(lines) + "\r\n").encode()

    @property
    def sender(self) -> str:
        """The envelope's sender: tells of what message a bounce is."""
        return "" if self.null else f"{SENDER}-{self.name}@{DOMAIN}"

    @property
    def digest(self) -> str:
        """Of its body, as it must arrive."""
        return digest(self.content)

    @property
    def ends(self) -> dict[str, str]:
        """Recipient -> the only state that he may come to."""
        return {one: "bounced" if one.startswith("never") else "delivered" for one in self.recipients}


def _to(name: str, *words: str) -> tuple[str, ...]:
    """Addresses: ``ok`` goes one way, ``ok2`` another."""
    return tuple(f"{word.rstrip('2')}-{name}@{'two.example' if word.endswith('2') else DOMAIN}" for word in words)


def messages() -> tuple[Message, ...]:
    """The script; each way's in the order in which it is handed in."""
    return (
        Message(name="l1", way=LISTENER, recipients=_to("l1", "ok", "later", "never"), size=2000),
        Message(name="l2", way=LISTENER, recipients=_to("l2", "ok", "ok2"), size=90 << 10),
        Message(name="l3", way=LISTENER, recipients=_to("l3", "slow"), dot="cut", key="l3", eight_bit=True),
        Message(name="l4", way=LISTENER, recipients=_to("l4", "never"), null=True),
        Message(name="s1", way=SOCKET, recipients=_to("s1", "ok", "later2"), key="s1"),
        Message(name="s2", way=SOCKET, recipients=_to("s2", "ok"), size=400 << 10, dot="defer", key="s2", twice=True),
        Message(name="s3", way=SOCKET, recipients=_to("s3", "never", "never2"), eight_bit=True),
        Message(name="e1", way=ENDPOINT, recipients=_to("e1", "ok"), size=300 << 10, dot="drop", key="e1"),
        Message(name="e2", way=ENDPOINT, recipients=_to("e2", "ok2", "never2"), size=8000),
        Message(name="e3", way=ENDPOINT, recipients=_to("e3", "slow2", "ok2"), key="e3", twice=True),
    )


def history() -> tuple[Message, ...]:
    """What a queue has seen already; with all of it its log is nearly so long that it goes into the database."""
    names = [f"h{n}" for n in range(2, 2 + LOGGED)]
    return (
        Message(name="h1", way=SOCKET, recipients=_to("h1", "ok")),
        *(Message(name=one, way=SOCKET, recipients=_to(one, "ok"), size=IN_DATABASE) for one in names),
    )
