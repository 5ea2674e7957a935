"""The options of greeter."""

from __future__ import annotations

from attrs import frozen

from netsvc.config import values
from netsvc.config.options import option
from netsvc.config.server import ServerSettings


@frozen(kw_only=True)
class GreeterSettings(ServerSettings):
    """Options of a greeter, the server of the tutorials."""

    welcome: str = option(values.text(), default="Welcome!", help="What a peer is sent when it connects.")
    close: bool = option(values.boolean(), default=False, help="Close after the welcome.")
    reply: str = option(
        values.text(), default="Hello, {text}!", help="The answer to each piece of input, which stands for {text}."
    )
    exit: str = option(
        values.text(), default="exit", help="Input that closes the connection; an empty text is no such word."
    )
    limit: int = option(
        values.size(1, 1 << 16), default=1024, help="The longest piece of input; a longer one is refused."
    )
    refusal: str = option(
        values.text(), default="That is too long.", help="What a peer is sent before it is cut off for long input."
    )
    line_end: str = option(
        values.choice("none", "lf", "crlf"),
        default="none",
        help="What ends the welcome and each answer; the tutorials' servers send nothing.",
    )
    pause: float = option(values.duration(0, 60), default=0.0, help="Wait so long before each answer.")
