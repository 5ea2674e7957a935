"""The pages that netsvc itself answers with. Everything shown is escaped; there is no script and nothing is loaded."""

from __future__ import annotations

from html import escape

from netsvc.services.http.answer import reason_phrase
from netsvc.services.http.exchange import Headers

# On every page of ours, and on every file, nosniff: a type that is said is meant.
NOSNIFF = (b"X-Content-Type-Options", b"nosniff")
PAGE_HEADERS: Headers = (
    (b"Content-Type", b"text/html; charset=utf-8"),
    NOSNIFF,
    (b"Content-Security-Policy", b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"),
)

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--dim:#60646c;--paper:#fcfcfd;--line:#e0e1e6;--link:#0b68cb;--hover:#f0f0f3}
@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--dim:#9ba1a6;--paper:#151718;--line:#2f3336;--link:#70b8ff;--hover:#202425}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.4rem;line-height:1.25;margin:0 0 1rem;overflow-wrap:anywhere}
p{margin:.5rem 0}a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
.dim{color:var(--dim);font-size:.875rem}
"""

_MEANING = {
    400: "The request was not understood.",
    403: "This may not be seen.",
    404: "There is nothing here.",
    405: "This cannot be done here.",
    408: "The request took too long to arrive.",
    413: "What was sent is too large.",
    414: "The address is too long.",
    431: "The header fields are too long.",
    500: "Something went wrong here. It has been logged.",
    501: "This server cannot do that.",
    502: "The program behind this page gave no proper answer.",
    503: "This server is busy. Please try again in a moment.",
    504: "The program behind this page took too long.",
}


def page(title: str, body: str, style: str = "") -> bytes:
    """A whole HTML document.

    :param title: text, not yet escaped.
    :param body: HTML.
    :param style: rules to add.
    """
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    ).encode("utf-8", "replace")


def error_page(status: int, reason: str | None, request_id: str) -> bytes:
    """The page of an error answer.

    :param reason: the reason phrase, or None for the usual one.
    :param request_id: the word by which the log finds the request.
    """
    phrase = reason or reason_phrase(status) or "Error"
    meaning = _MEANING.get(status, "")
    return page(
        f"{status} {phrase}",
        f"<h1>{status} {escape(phrase)}</h1>\n"
        + (f"<p>{meaning}</p>\n" if meaning else "")
        + f'<p class="dim">Request {escape(request_id)}</p>',
    )
