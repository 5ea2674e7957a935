"""What EHLO, STARTTLS and AUTH have come to in a conversation, and what is allowed after that. No I/O."""

from __future__ import annotations

from attrs import define

from netsvc.services.smtp_client.listener.commands import CommandError
from netsvc.services.smtp_client.listener.events import Terms


@define(eq=False, kw_only=True)
class Standing:
    """Where a peer stands.

    :param near: he is on this machine, so that nobody listens on the way.
    :param secure: under TLS.
    :param greeting: EHLO or HELO, empty before.
    :param helo: the name that came with it.
    :param user: who has logged in.
    :param errors: commands that could not be obeyed.
    :param logins: those that failed.
    """

    terms: Terms
    near: bool
    secure: bool
    greeting: str = ""
    helo: str = ""
    user: str | None = None
    errors: int = 0
    logins: int = 0

    @property
    def _unheard(self) -> bool:
        return self.secure or self.near

    def under_tls(self) -> Standing:
        """The same peer after STARTTLS: of what was said before only the mistakes count (RFC 3207 4.2)."""
        return Standing(terms=self.terms, near=self.near, secure=True, errors=self.errors, logins=self.logins)

    def offers(self) -> list[str]:
        """What EHLO is answered with, behind our name."""
        terms = self.terms
        found = ["PIPELINING", f"SIZE {terms.max_message}", "8BITMIME", "SMTPUTF8", "DSN"]
        found += ["ENHANCEDSTATUSCODES", "CHUNKING"]
        if terms.starttls and not self.secure:
            found.append("STARTTLS")
        if terms.login and self._unheard and self.user is None:
            found.append("AUTH PLAIN LOGIN")
        if self.secure:
            found.append("REQUIRETLS")  # RFC 8689 2: under TLS only
        return [*found, "HELP"]

    def protocol(self, *, smtputf8: bool) -> str:
        """The word for how a message comes (RFC 3848, RFC 6531 4.3)."""
        word = ("UTF8SMTP" if smtputf8 else "ESMTP") if self.greeting == "EHLO" else "SMTP"
        return word + ("S" if self.secure else "") + ("A" if self.user is not None else "")

    def check_starttls(self, *, in_transaction: bool) -> None:
        """Whether TLS may begin.

        :raises CommandError: it may not.
        """
        if not self.terms.starttls:
            raise CommandError(502, "5.5.1", "not a command here")
        if self.secure or self.greeting != "EHLO" or in_transaction:
            raise CommandError(503, "5.5.1", "not now")

    def check_auth(self, *, in_transaction: bool) -> None:
        """Whether the peer may log in.

        :raises CommandError: he may not.
        """
        if not self.terms.login:
            raise CommandError(502, "5.5.1", "nobody needs to log in here")
        if self.greeting != "EHLO" or self.user is not None or in_transaction:
            raise CommandError(503, "5.5.1", "not now")
        if not self._unheard:
            raise CommandError(538, "5.7.11", "only under TLS")

    def check_mail(self, *, in_transaction: bool) -> None:
        """Whether a transaction may begin.

        :raises CommandError: it may not.
        """
        if not self.greeting:
            raise CommandError(503, "5.5.1", "EHLO comes first")
        if in_transaction:
            raise CommandError(503, "5.5.1", "one sender is enough")
        if self.terms.login and self.user is None:
            if not self._unheard:
                raise CommandError(530, "5.7.0", "STARTTLS comes first")
            raise CommandError(530, "5.7.0", "log in first")
