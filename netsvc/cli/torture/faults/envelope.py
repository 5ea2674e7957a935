"""Faults 27 to 33: MAIL and RCPT."""

from __future__ import annotations

from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import Message, fault

AT_ONCE = 2  # recipients of one transaction that fault 31 takes


@fault(
    27,
    "MAIL refused",
    Message({"one@torture.example": "retry delivered"}, sender="later@torture.example"),
    Message({"one@torture.example": "permanent"}, sender="never@torture.example"),
)
class RefusesSender(Server):
    """Answers MAIL with 451 once for one sender, and with 550 for another."""

    def mail(self, sender: str) -> str:
        if sender.startswith("never@"):
            return "550 5.1.8 never"
        if sender.startswith("later@") and self.scene.first(sender):
            return "451 4.3.0 later"
        return super().mail(sender)


@fault(28, "message over SIZE", Message({"one@torture.example": "permanent"}))
class TooSmall(Server):
    """Offers SIZE 100."""

    capabilities = ("PIPELINING", "SIZE 100", "8BITMIME")


@fault(
    29,
    "recipients 250, 450 and 550",
    Message(
        {
            "good@torture.example": "delivered",
            "later@torture.example": "retry delivered",
            "never@torture.example": "permanent",
        }
    ),
)
class RecipientMix(Server):
    """Takes one recipient, puts one off, refuses one."""

    def rcpt(self, address: str) -> str:
        if address.startswith("never@"):
            return "550 5.1.1 nobody"
        if address.startswith("later@") and self.scene.first(address):
            return "450 4.2.1 later"
        return super().rcpt(address)


@fault(
    30,
    "everybody greylisted",
    Message({"one@torture.example": "retry delivered", "two@torture.example": "retry delivered"}),
)
class Greylisted(Server):
    """Answers the first RCPT of each recipient with 450."""

    def rcpt(self, address: str) -> str:
        return "450 4.7.1 come again" if self.scene.first(address) else super().rcpt(address)


@fault(
    31,
    "452 after some recipients",
    Message(
        {
            "a@torture.example": "delivered",
            "b@torture.example": "delivered",
            "c@torture.example": "* delivered",
            "d@torture.example": "* delivered",
            "e@torture.example": "* delivered",
        }
    ),
)
class FewAtOnce(Server):
    """Takes two recipients of one message at a time; the others may come at once or later."""

    def rcpt(self, address: str) -> str:
        return "452 4.5.3 enough" if len(self.recipients) >= AT_ONCE else super().rcpt(address)


@fault(
    32,
    "421 at RCPT",
    Message({"one@torture.example": "retry delivered", "two@torture.example": "retry delivered"}),
)
class BusyAtRcpt(Server):
    """Takes one recipient, answers the next with 421, and closes."""

    def rcpt(self, address: str) -> str:
        if self.faulty and self.recipients:
            self.end("421 4.3.2 too busy")
        return super().rcpt(address)


@fault(
    33,
    "no SMTPUTF8",
    Message({"用户@torture.example": "permanent", "one@torture.example": "delivered"}),
    Message({"one@torture.example": "delivered"}, fields="X-Name: 汇总数据\r\n".encode()),
)
class AsciiOnly(Server):
    """Offers no SMTPUTF8 to a recipient who has no ASCII name, and to a header in Chinese."""

    capabilities = ("PIPELINING", "SIZE 67108864", "8BITMIME", "ENHANCEDSTATUSCODES")
