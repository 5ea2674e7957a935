"""What a sender wants to hear (DSN, RFC 3461), between the listener that is told and the delivery that passes it on.

It waits in the outbox in the submission's meta: ``ret``, ``envid``, and ``notices``, which is JSON:
{"b@example.com": [["success", "failure"], "rfc822;b@example.com"]}. So does ``require_tls``, when the sender asks for
verified TLS all the way (RFC 8689); that the TLS which others ask for may be left out, the message's header says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from netsvc.services.smtp_client.terms import Envelope, Notice, TLSWish
from netsvc.services.smtp_client.trace import split_head
from netsvc.services.smtp_client.wire import CANONICAL

REQUIRE_TLS = "require_tls"  # in meta


def to_meta(ret: str, envid: str, notices: Mapping[str, Notice], *, require_tls: bool = False) -> dict[str, str]:
    """What the outbox keeps of it; what was not said is not there.

    :param ret: ``full``, ``hdrs`` or empty.
    :param notices: by recipient.
    :param require_tls: RFC 8689; then a notice, which may go without TLS, holds the header only (5).
    """
    said = {address: [one.notify, one.orcpt] for address, one in notices.items() if one.notify or one.orcpt}
    meta = {
        "ret": "hdrs" if require_tls else ret,
        "envid": envid,
        "notices": json.dumps(said, separators=(",", ":")) if said else "",
        REQUIRE_TLS: "yes" if require_tls else "",
    }
    return {name: value for name, value in meta.items() if value}


def to_envelope(sender: str, recipients: Sequence[str], meta: Mapping[str, str]) -> Envelope:
    """The envelope of one attempt.

    :param recipients: those of the item that still wait.
    :param meta: the item's.
    """
    said = json.loads(meta["notices"]) if "notices" in meta else {}
    notices = {one: Notice(notify=tuple(said[one][0]), orcpt=said[one][1]) for one in recipients if one in said}
    ret: Any = meta.get("ret")
    return Envelope(
        sender=sender,
        recipients=tuple(recipients),
        ret=ret,
        envid=meta.get("envid", ""),
        notices=notices,
        require_tls=REQUIRE_TLS in meta,
        is_canonical=CANONICAL in meta,
    )


def tls_wish(meta: Mapping[str, str], content: bytes) -> TLSWish:
    """What a message asks of TLS.

    :param meta: the item's.
    :param content: the message; its header is read only if that matters.
    """
    return TLSWish(required=REQUIRE_TLS in meta, waived=lambda: waives_tls(content))


def waives_tls(content: bytes) -> bool:
    """Whether the header says ``TLS-Required: No`` (RFC 8689 3)."""
    fields = split_head(content).fields
    return any(name == b"tls-required" and one.partition(b":")[2].strip().lower() == b"no" for name, one in fields)
