"""How a gateway may write what it was sent when it repeats a request in its complaint. No I/O."""

from __future__ import annotations

import base64
import html
import json
import re
from urllib.parse import quote, quote_plus

_PERCENT = re.compile("%[0-9A-F]{2}")


def spellings(secret: str) -> frozenset[str]:
    """A text as it stands in a sentence, in a form or URL, in JSON, in HTML and in Base64.

    :param secret: without lone surrogates.
    """
    in_forms = {coder(secret, safe=safe) for coder in (quote, quote_plus) for safe in ("", "*", "~*()'!", "/")}
    in_forms |= {_PERCENT.sub(lambda found: found[0].lower(), one) for one in in_forms}
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    in_json |= {one.replace("/", "\\/") for one in in_json}
    in_html = {html.escape(secret), html.escape(secret, quote=False)}
    # Without the padding: the last character may hold bits of what followed.
    in_base64 = base64.b64encode(secret.encode()).decode().rstrip("=")
    return frozenset({secret, in_base64, *in_forms, *in_json, *in_html})
