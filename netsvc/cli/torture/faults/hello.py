"""Faults 11 to 21: EHLO, STARTTLS and the handshake."""

from __future__ import annotations

import os

from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import Message, by_starttls, encrypted, fault, in_clear

# A ServerHello of TLS 1.0 (RFC 2246 7.4.1.3) with TLS_RSA_WITH_AES_128_CBC_SHA.
OLD_HELLO = b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01%b\x00\x00\x2f\x00"


@fault(11, "EHLO unknown", Message({"one@torture.example": "delivered"}), way=in_clear)
class OnlyHelo(Server):
    """Answers EHLO with 500 and HELO as it should."""

    def ehlo(self, _: str) -> None:
        self.say("500 5.5.1 what?")


@fault(12, "421 at EHLO")
class BusyAtEhlo(Server):
    """Answers EHLO with 421 and closes."""

    def ehlo(self, argument: str) -> None:
        if self.faulty:
            self.end("421 4.3.2 too busy")
        super().ehlo(argument)


@fault(13, "STARTTLS refused with 454", way=by_starttls)
class NoTlsNow(Server):
    """Answers STARTTLS with 454, and would take mail in clear."""

    def starttls(self, argument: str) -> None:
        if self.faulty:
            self.say("454 4.7.0 not now")
        else:
            super().starttls(argument)


@fault(14, "STARTTLS stripped", way=by_starttls)
class Stripped(Server):
    """Does not offer STARTTLS, as if somebody on the way had taken it out, and would take mail in clear."""

    def offers(self) -> list[str]:
        offered = super().offers()
        return [one for one in offered if one != "STARTTLS"] if self.faulty else offered


@fault(15, "replies injected before TLS", way=by_starttls)
class Injected(Server):
    """Sends the replies of a whole session in clear behind the 220 to STARTTLS."""

    def starttls(self, argument: str) -> None:
        if not self.faulty:
            super().starttls(argument)
            return
        self.say("220 2.0.0 go", "250-x", "250 AUTH PLAIN", "235 ok", "250 ok", "250 ok", "354 go", "250 taken")
        self.handshake()
        self.scene.flaw("the handshake was made although replies had come in clear")


class WithCertificate(Server):
    """Shows a certificate that must not be believed."""

    certificate = "good"

    def handshake(self) -> None:
        if self.faulty:
            self.peer.encrypt(self.scene.context(self.certificate))
        else:
            super().handshake()

    def ehlo(self, argument: str) -> None:
        if self.faulty and self.peer.encrypted:
            self.scene.flaw(f"the session went on with a certificate of the kind {self.certificate}")
        super().ehlo(argument)


@fault(16, "certificate of an unknown CA", way=encrypted)
class UnknownCa(WithCertificate):
    """Shows a certificate of an authority that nobody knows."""

    certificate = "stranger"


@fault(17, "certificate of another name", way=encrypted)
class WrongName(WithCertificate):
    """Shows a good certificate of another server."""

    certificate = "other-name"


@fault(18, "certificate expired", way=encrypted)
class Expired(WithCertificate):
    """Shows its certificate of last week."""

    certificate = "expired"


@fault(19, "handshake hangs", way=encrypted)
class HangingHandshake(Server):
    """Never answers the ClientHello."""

    def handshake(self) -> None:
        if self.faulty:
            self.peer.wait_for_end()
        super().handshake()


@fault(20, "cut in the handshake", way=encrypted)
class CutHandshake(Server):
    """Closes once the ClientHello is there."""

    def handshake(self) -> None:
        if self.faulty:
            self.peer.receive()
            self.peer.cut()
        super().handshake()


@fault(21, "old TLS only", way=encrypted)
class OldTls(Server):
    """Answers the ClientHello with TLS 1.0."""

    def handshake(self) -> None:
        if self.faulty:
            self.peer.receive()
            self.peer.send(OLD_HELLO % os.urandom(32))
            self.peer.wait_for_end()
        super().handshake()
