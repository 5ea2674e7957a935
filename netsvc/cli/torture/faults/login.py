"""Faults 22 to 26: the login. What goes wrong there is the account's fault, never a message's."""

from __future__ import annotations

from netsvc.cli.torture.server import Server
from netsvc.cli.torture.terms import fault, logged_in, logged_in_by_starttls


class RefusesLogin(Server):
    """Refuses the login."""

    reply = ""

    def auth(self, argument: str) -> None:
        if self.faulty:
            self.say(self.reply)
        else:
            super().auth(argument)


@fault(22, "login refused with 535", way=logged_in)
class WrongPassword(RefusesLogin):
    """Answers AUTH with 535."""

    reply = "535 5.7.8 wrong"


@fault(23, "login put off with 454", way=logged_in)
class LoginLater(RefusesLogin):
    """Answers AUTH with 454."""

    reply = "454 4.7.0 not now"


@fault(24, "no common login mechanism", way=logged_in)
class ForeignMechanisms(Server):
    """Offers mechanisms only that nobody here has."""

    def ehlo(self, argument: str) -> None:
        if self.faulty:
            self.mechanisms = "GSSAPI NTLM"
        super().ehlo(argument)


@fault(25, "challenge that is not base64", way=logged_in)
class BadChallenge(Server):
    """Asks for the password in octets that are not base64."""

    def ehlo(self, argument: str) -> None:
        if self.faulty:
            self.mechanisms = "LOGIN"
        super().ehlo(argument)

    def auth(self, argument: str) -> None:
        if not self.faulty:
            super().auth(argument)
            return
        self.say("334 <<<what?>>>")
        if self.peer.line() == b"*":  # RFC 4954 4
            self.say("501 5.7.0 cancelled")
        else:
            self.scene.flaw("a challenge that is not base64 was answered")
            self.say("535 5.7.8 wrong")


@fault(26, "login offered only before TLS", way=logged_in_by_starttls)
class LoginInClear(Server):
    """Offers AUTH in clear and no more once TLS is on: a password would be seen."""

    def offers(self) -> list[str]:
        offered = super().offers()
        if not self.faulty:
            return offered
        offered = [one for one in offered if not one.startswith("AUTH")]
        return offered if self.peer.encrypted else [*offered, f"AUTH {self.mechanisms}"]
