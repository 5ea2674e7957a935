"""The part of a list's page with which people change the directory: a form, and the script that makes it comfortable.

Without a script it is a plain form (RFC 7578). The script and the style stand in the page itself and nothing is loaded:
the policy of the page names the script by its digest, so that no other one runs in it. No I/O but the reading of both,
once.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path

from attrs import frozen

from netsvc.services.http.exchange import Headers
from netsvc.services.http.listing.offers import Offers
from netsvc.services.http.pages import NOSNIFF

_HERE = Path(__file__).parent
_PARTS = ("page", "requests", "item", "uploads", "list", "start")  # of the script, in this order

_FORM = """<form method="post" action="./" enctype="multipart/form-data">
<label for="files"><span>Choose files</span></label>
<input type="file" id="files" name="file" multiple required>
<button>Upload</button> <button formaction="./?replace=yes">Upload and replace</button>
</form>
"""


@frozen
class _Equipment:
    """What the page needs.

    :param headers: the fields of its answer.
    """

    script: str
    style: str
    headers: Headers


@cache
def _equipment() -> _Equipment:
    script = "\n" + "\n".join((_HERE / "script" / f"{part}.js").read_text("utf-8") for part in _PARTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    # In no frame: whoever could lay the page under another one could have a person press its buttons.
    policy = (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; connect-src 'self'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return _Equipment(
        script=script,
        style=(_HERE / "panel.css").read_text("utf-8"),
        headers=(
            (b"Content-Type", b"text/html; charset=utf-8"),
            NOSNIFF,
            (b"Content-Security-Policy", policy.encode("ascii")),
        ),
    )


def panel_headers() -> Headers:
    """The fields of an answer with such a page: its policy lets the script run, and the form be sent."""
    return _equipment().headers


def panel_style() -> str:
    """Its rules."""
    return _equipment().style


def panel_script() -> str:
    """What stands in the page's script element, octet for octet."""
    return _equipment().script


def panel(offers: Offers) -> str:
    """The panel, as HTML."""
    said = [f'data-chunk="{offers.chunk}"']
    said += [word for word, on in (("data-remove", offers.remove), ("data-folder", offers.make_directory)) if on]
    return (
        f'<section id="panel" aria-label="Upload" {" ".join(said)}>\n{_FORM}'
        '<ul aria-label="Uploads"></ul>\n<p class="dim" role="status"></p>\n</section>\n'
    )
