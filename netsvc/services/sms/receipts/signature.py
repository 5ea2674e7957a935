"""The signatures by which gateways show that a receipt is theirs. No I/O.

twilio (X-Twilio-Signature; "Security", twilio.com/docs/usage/security): Base64 of HMAC-SHA1, by the auth token, over
the URL as it was called with its query, and behind it name and value of each field of a form, sorted by name.

vonage-sha256 and its kin (the parameter sig; "Signing Messages", developer.vonage.com/getting-started/concepts/
signing-messages, with Vonage's own Python SDK for the details): hexadecimal HMAC, by the signature secret, over "&",
name, "=" and value of each other parameter, sorted by name, where "&" and "=" in a value count as "_"; its timestamp is
one of the parameters.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

SIGNATURES = ("none", "twilio", "vonage-md5", "vonage-sha1", "vonage-sha256", "vonage-sha512")
OLDEST = 24 * 3600.0  # seconds: a receipt of Vonage's whose timestamp is further from now was played back

_HASHES: Mapping[str, Callable[[], Any]] = {
    "vonage-md5": hashlib.md5,
    "vonage-sha1": hashlib.sha1,
    "vonage-sha256": hashlib.sha256,
    "vonage-sha512": hashlib.sha512,
}


def is_signed(
    kind: str, key: str, *, url: str, query: str, body: bytes, media_type: str, signature: str, now: float
) -> bool:
    """Whether a request bears the signature that its gateway would give it.

    :param url: as the gateway was told, without query.
    :param signature: the field X-Twilio-Signature, if there is one.
    :param now: wall clock, seconds.
    """
    if kind == "none":
        return True
    if kind == "twilio":
        form = media_type == "application/x-www-form-urlencoded"
        return hmac.compare_digest(_twilio(key, url, query, body if form else b""), signature.encode())
    pairs = _parameters(query, body, media_type)
    given = pairs.pop("sig", "").lower()
    try:
        is_new = abs(now - float(pairs.get("timestamp", ""))) <= OLDEST
    except ValueError:
        is_new = False
    return is_new and hmac.compare_digest(_vonage(_HASHES[kind], key, pairs), given.encode())


def _twilio(key: str, url: str, query: str, form: bytes) -> bytes:
    text = url + (f"?{query}" if query else "")
    pairs = parse_qsl(form.decode("utf-8", "replace"), keep_blank_values=True)
    text += "".join(name + value for name, value in sorted(pairs))
    return base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha1).digest())


def _vonage(digest: Callable[[], Any], key: str, pairs: Mapping[str, str]) -> bytes:
    text = "".join(f"&{name}={value.replace('&', '_').replace('=', '_')}" for name, value in sorted(pairs.items()))
    return hmac.new(key.encode(), text.encode(), digest).hexdigest().encode()


def _parameters(query: str, body: bytes, media_type: str) -> dict[str, str]:
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    if media_type == "application/x-www-form-urlencoded":
        pairs.update(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    elif media_type == "application/json":
        try:
            whole = json.loads(body)
        except (ValueError, RecursionError):
            return {}
        if isinstance(whole, dict):
            pairs.update((name, str(value)) for name, value in whole.items() if isinstance(value, str | int | float))
    return pairs
