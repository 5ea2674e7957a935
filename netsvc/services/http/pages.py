"""The pages that netsvc itself answers with. Everything shown is escaped and nothing is loaded.

There is no script but on lists from which files can be put into the directory.
"""

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

# Contrast of --dim and --link on --paper is at least 4.5 to 1 in both schemes (WCAG 2.2, 1.4.3).
_STYLE = """
:root{color-scheme:light dark;--ink:#1c2024;--dim:#60646c;--faint:#b9bbc6;--paper:#fcfcfd;--line:#e8e8ec;--link:#0b5cb8;
--hover:#f0f0f3;--folder:#5b9bd5}
@media(prefers-color-scheme:dark){:root{--ink:#edeef0;--dim:#a8adb4;--faint:#5a6169;--paper:#151718;--line:#26292b;
--link:#7cbcff;--hover:#1d2022;--folder:#4a86c0}}
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2rem 1rem}
h1{font-size:1.4rem;line-height:1.25;margin:0 0 .5rem;overflow-wrap:anywhere}
p{margin:.5rem 0}a{color:var(--link);text-decoration:none}a:hover{text-decoration:underline}
a:focus-visible{outline:2px solid var(--link);outline-offset:-2px;border-radius:3px}
.dim{color:var(--dim);font-size:.875rem}
@media(max-width:40rem){main{padding:1.25rem .75rem}.hide{display:none}}
"""
_ERROR_STYLE = """
main{max-width:36rem;padding-top:max(2rem,18vh)}
h1 strong{display:block;font-size:3.5rem;font-weight:300;line-height:1;letter-spacing:-.03em;color:var(--dim);
margin:0 0 .5rem}
code{font:.875rem ui-monospace,monospace;overflow-wrap:anywhere}.dim{margin-top:2rem;padding-top:.75rem;
border-top:1px solid var(--line)}
"""

_MEANING = {
    400: "The request was not understood.",
    401: "This asks for a user name and a password.",
    403: "This may not be seen.",
    404: "There is nothing at this address.",
    405: "This cannot be done here.",
    406: "This cannot be sent in the form that was asked for.",
    408: "The request took too long to arrive.",
    409: "This does not fit what is there.",
    411: "What is sent must say how long it is.",
    412: "It has changed in the meantime, or is not what was expected.",
    413: "What was sent is too large.",
    414: "The address is too long.",
    416: "It does not have the part that was asked for.",
    415: "What was sent is in a form that is not taken here.",
    421: "This server does not answer for that host on this connection.",
    429: "There were too many requests. Please try again later.",
    431: "The header fields are too long.",
    500: "Something went wrong here. It has been logged.",
    501: "This server cannot do that.",
    502: "The program behind this page gave no proper answer.",
    503: "This server is busy. Please try again in a moment.",
    504: "The program behind this page took too long.",
    505: "This version of HTTP is not spoken here.",
    507: "There is no room for what was sent.",
}


def page(title: str, body: str, style: str = "", script: str = "") -> bytes:
    """A whole HTML document.

    :param title: text, not yet escaped.
    :param body: HTML.
    :param style: rules to add.
    :param script: a module of JavaScript, which the policy of the answer must name.
    """
    scripted = f'<script type="module">{script}</script>\n' if script else ""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{_STYLE}{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n{scripted}</body>\n</html>\n"
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
        f"<h1><strong>{status}</strong> {escape(phrase)}</h1>\n"
        + (f"<p>{meaning}</p>\n" if meaning else "")
        + f'<p class="dim">Request <code>{escape(request_id)}</code></p>',
        _ERROR_STYLE,
    )
