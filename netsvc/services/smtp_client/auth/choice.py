"""Which mechanisms to try, in which order. No I/O, no Twisted.

A token is for OAUTHBEARER and XOAUTH2 alone. With a password: first what proves the server as well, then, with TLS,
what every server understands; without TLS, what does not show the password.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from netsvc.config.secrets import Secret
from netsvc.services.smtp_client.auth.bearer import OAuthBearer, XOAuth2
from netsvc.services.smtp_client.auth.mechanism import CramMD5, Login, Mechanism, Plain
from netsvc.services.smtp_client.auth.scram import ScramSha256
from netsvc.services.smtp_client.terms import Relay

WITH_PASSWORD: dict[str, Callable[[str, Secret], Mechanism]] = {
    one.name: one for one in (ScramSha256, Plain, Login, CramMD5)
}
WITH_TOKEN = (OAuthBearer.name, XOAuth2.name)
IN_CLEAR = (ScramSha256.name, CramMD5.name, Plain.name, Login.name)
NAMES = (*WITH_TOKEN, *WITH_PASSWORD)


def mechanisms(
    relay: Relay, username: str, secret: Secret, offered: frozenset[str], *, encrypted: bool
) -> Iterator[Mechanism]:
    """Those that the server offers and the relay's settings allow, best first.

    :param secret: the token where the relay has a token command, else the password.
    :raises AuthError: the name or the secret cannot be sent so.
    """
    order: tuple[str, ...] = tuple(WITH_PASSWORD) if encrypted else IN_CLEAR
    if relay.token_command:
        order = WITH_TOKEN
    for name in relay.mechanisms or order:
        if name not in offered or name not in order:
            continue
        if name == OAuthBearer.name:
            yield OAuthBearer(username, secret, host=relay.host, port=relay.port)
        elif name == XOAuth2.name:
            yield XOAuth2(username, secret)
        else:
            yield WITH_PASSWORD[name](username, secret)
