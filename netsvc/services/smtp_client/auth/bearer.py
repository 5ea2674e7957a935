"""Login with an OAuth 2.0 access token: OAUTHBEARER (RFC 7628) and XOAUTH2, as Google and Microsoft document it.

No I/O, no Twisted. A refusal comes as a challenge with a JSON text; it is answered as the mechanism wants, and the
reply to that answer is the refusal.
"""

from __future__ import annotations

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.mechanism import AuthError, Mechanism
from netsvc.services.smtp_client.auth.scram import saslname


def _checked(username: str) -> str:
    if "\1" in username or "\0" in username:
        raise AuthError("a name with control characters cannot be sent with a token")
    return username


class OAuthBearer(Mechanism):
    """RFC 7628 3.1."""

    name = "OAUTHBEARER"

    def __init__(self, username: str, token: Secret, *, host: str, port: int) -> None:
        gs2 = f"n,a={saslname(_checked(username))},"
        super().__init__(
            lambda _: f"{gs2}\1host={host}\1port={port}\1auth=Bearer {token.reveal()}\1\1".encode(),
            lambda _: b"\1",  # RFC 7628 3.2.3
        )


class XOAuth2(Mechanism):
    """One message; an empty answer to the refusal."""

    name = "XOAUTH2"

    def __init__(self, username: str, token: Secret) -> None:
        name = _checked(username)
        super().__init__(lambda _: f"user={name}\1auth=Bearer {token.reveal()}\1\1".encode(), lambda _: b"")
