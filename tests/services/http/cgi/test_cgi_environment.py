"""The environment and the arguments of a script."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

import netsvc
from netsvc.net.environment import clean_environment
from netsvc.services.http.cgi.environment import script_arguments, script_environment
from netsvc.services.http.cgi.settings import SANE_PATH, CgiSettings
from netsvc.services.http.site.paths import Script
from tests.services.http.cgi.rig import request_head

SCRIPT = Script(
    filename=Path("/srv/www/cgi-bin/a b.py"), script_name="/cgi-bin/a b.py", path_info="", docroot=Path("/srv/www")
)


def environment(options: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    """The environment of a plain GET, with changes."""
    arguments: dict[str, Any] = {
        "peer": ("192.0.2.7", 40000),
        "local": ("192.0.2.1", 8000),
        "secure": False,
        "script": SCRIPT,
        "body_length": 0,
        "settings": evolve(CgiSettings(), **(options or {})),
        "inherited": {},
        "request_id": "rq1",
    }
    head = changes.pop("head", request_head())
    return script_environment(head, **{**arguments, **changes})


class EnvironmentTest(SynchronousTestCase):
    """RFC 3875, section 4.1, and CGI lines 1 to 3 of the specification."""

    def test_cgi_01_whole(self) -> None:
        """A plain GET has these variables and no others."""
        self.assertEqual(
            environment(head=request_head(target=b"/cgi-bin/a%20b.py?x=1&y")),
            {
                "PATH": SANE_PATH,
                "HTTP_ACCEPT": "",
                "GATEWAY_INTERFACE": "CGI/1.1",
                "SERVER_SOFTWARE": f"netsvc/{netsvc.__version__}",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "SERVER_NAME": "example.com",
                "SERVER_ADDR": "192.0.2.1",
                "SERVER_PORT": "8000",
                "REMOTE_ADDR": "192.0.2.7",
                "REMOTE_PORT": "40000",
                "REQUEST_METHOD": "GET",
                "REQUEST_SCHEME": "http",
                "REQUEST_URI": "/cgi-bin/a%20b.py?x=1&y",
                "QUERY_STRING": "x=1&y",
                "DOCUMENT_ROOT": "/srv/www",
                "SCRIPT_NAME": "/cgi-bin/a b.py",
                "SCRIPT_FILENAME": "/srv/www/cgi-bin/a b.py",
                "UNIQUE_ID": "rq1",
            },
        )

    def test_cgi_01_user(self) -> None:
        """Whom netsvc has authenticated is REMOTE_USER, with the scheme; a peer's field cannot claim it."""
        found = environment(user="ann é")
        self.assertEqual((found["REMOTE_USER"], found["AUTH_TYPE"]), ("ann é", "Basic"))
        found = environment(head=request_head(headers=((b"remote-user", b"ann"), (b"authorization", b"Basic eA=="))))
        self.assertFalse({"REMOTE_USER", "AUTH_TYPE", "HTTP_AUTHORIZATION"} & set(found))

    def test_cgi_01_request_id(self) -> None:
        """UNIQUE_ID is the request's id in the log, and no option replaces it."""
        found = environment({"cgi_env": (("UNIQUE_ID", "x"),)}, request_id="abc123")
        self.assertEqual(found["UNIQUE_ID"], "abc123")

    def test_cgi_01_scope(self) -> None:
        """In a scope with a docroot of its own SCRIPT_NAME has the prefix, the file names have the docroot."""
        place = Script(
            filename=Path("/srv/private/cgi-bin/x"),
            script_name="/private/cgi-bin/x",
            path_info="/a",
            docroot=Path("/srv/private"),
        )
        found = environment(script=place, head=request_head(target=b"/private/cgi-bin/x/a"))
        self.assertEqual(
            [
                found[name]
                for name in ("SCRIPT_NAME", "SCRIPT_FILENAME", "DOCUMENT_ROOT", "PATH_INFO", "PATH_TRANSLATED")
            ],
            ["/private/cgi-bin/x", "/srv/private/cgi-bin/x", "/srv/private", "/a", "/srv/private/a"],
        )
        self.assertEqual(found["REQUEST_URI"], "/private/cgi-bin/x/a")

    def test_cgi_01_query_empty(self) -> None:
        """QUERY_STRING is set, and empty, without a query; an empty one is seen in REQUEST_URI."""
        self.assertEqual(environment()["QUERY_STRING"], "")
        found = environment(head=request_head(target=b"/cgi-bin/x?"))
        self.assertEqual((found["QUERY_STRING"], found["REQUEST_URI"]), ("", "/cgi-bin/x?"))

    def test_cgi_01_tls(self) -> None:
        """Under TLS HTTPS is "on"; without it is absent."""
        found = environment(secure=True)
        self.assertEqual((found["HTTPS"], found["REQUEST_SCHEME"]), ("on", "https"))
        self.assertNotIn("HTTPS", environment())

    def test_cgi_01_versions(self) -> None:
        """SERVER_PROTOCOL is the version of the request."""
        for version, name in (((1, 0), "HTTP/1.0"), ((2, 0), "HTTP/2.0")):
            self.assertEqual(environment(head=evolve(request_head(), version=version))["SERVER_PROTOCOL"], name)

    def test_cgi_02_ipv6(self) -> None:
        """An IPv6 address is bare in *_ADDR and in brackets in SERVER_NAME."""
        found = environment(head=request_head(host="[2001:db8::1]:8000"), peer=("2001:db8::7", 1), local=("::1", 8000))
        self.assertEqual(
            (found["SERVER_NAME"], found["SERVER_ADDR"], found["REMOTE_ADDR"]), ("[2001:db8::1]", "::1", "2001:db8::7")
        )
        self.assertEqual(environment(head=request_head(host=""), local=("::1", 80))["SERVER_NAME"], "[::1]")
        self.assertEqual(environment(head=request_head(host="[::1"))["SERVER_NAME"], "[::1")

    def test_cgi_01_no_host(self) -> None:
        """Without a Host SERVER_NAME is the address that was connected to."""
        self.assertEqual(environment(head=request_head(host=""))["SERVER_NAME"], "192.0.2.1")

    def test_cgi_01_unix_socket(self) -> None:
        """On a UNIX socket the port is that of the Host field, or the scheme's."""
        unix = {"peer": ("", 0), "local": ("", 0)}
        self.assertEqual(environment(**unix)["SERVER_PORT"], "8000")
        bare = request_head(host="")
        found = environment(head=bare, **unix)
        self.assertEqual((found["SERVER_NAME"], found["SERVER_PORT"]), ("localhost", "80"))
        self.assertEqual(environment(head=request_head(host="[::1]"), secure=True, **unix)["SERVER_PORT"], "443")
        self.assertEqual(environment(head=request_head(host="[::1]:81"), **unix)["SERVER_PORT"], "81")

    def test_cgi_01_body(self) -> None:
        """CONTENT_LENGTH is there if and only if there is a body; CONTENT_TYPE if the field was."""
        self.assertNotIn("CONTENT_LENGTH", environment())
        self.assertNotIn("CONTENT_TYPE", environment())
        head = request_head("POST", headers=((b"content-length", b"5"), (b"content-type", b"text/plain")))
        found = environment(head=head, body_length=5)
        self.assertEqual((found["CONTENT_LENGTH"], found["CONTENT_TYPE"]), ("5", "text/plain"))
        self.assertEqual([name for name in found if name.startswith("HTTP_")], ["HTTP_ACCEPT"])

    def test_cgi_01_empty_body(self) -> None:
        """A body of no octets that was declared is a body."""
        for field in ((b"content-length", b"0"), (b"transfer-encoding", b"chunked")):
            found = environment(head=request_head("POST", headers=(field,)))
            self.assertEqual(found["CONTENT_LENGTH"], "0")
            self.assertNotIn("HTTP_TRANSFER_ENCODING", found)

    def test_cgi_02_path_info(self) -> None:
        """PATH_INFO keeps its case and brings PATH_TRANSLATED; without one both are absent."""
        found = environment(script=evolve(SCRIPT, path_info="/Some/Where é"))
        self.assertEqual(found["PATH_INFO"], "/Some/Where é")
        self.assertEqual(found["PATH_TRANSLATED"], "/srv/www/Some/Where é")
        self.assertFalse({"PATH_INFO", "PATH_TRANSLATED"} & set(environment()))
        at_root = environment(script=evolve(SCRIPT, path_info="/a", docroot=Path("/")))
        self.assertEqual(at_root["PATH_TRANSLATED"], "/a")

    def test_cgi_03_fields(self) -> None:
        """Fields become HTTP_*; repeated ones are joined, cookies by a semicolon; HTTP_ACCEPT is always there."""
        fields = (
            (b"x-one", b"a"),
            (b"accept", b"a/b"),
            (b"accept", b"c/d"),
            (b"cookie", b"a=1"),
            (b"x-one", b"b"),
            (b"cookie", b"b=2"),
            (b"user-agent", b"curl/8"),
        )
        found = environment(head=request_head(headers=fields))
        self.assertEqual(
            {name: value for name, value in found.items() if name.startswith("HTTP_")},
            {"HTTP_ACCEPT": "a/b,c/d", "HTTP_X_ONE": "a, b", "HTTP_COOKIE": "a=1; b=2", "HTTP_USER_AGENT": "curl/8"},
        )

    def test_cgi_03_dangerous_fields(self) -> None:
        """Proxy, names with an underscore or with what no shell has in a name, and Authorization are not passed."""
        fields = (
            (b"proxy", b"http://evil"),
            (b"x_one", b"a"),
            (b"x.one", b"a"),
            (b"authorization", b"Basic eA=="),
            (b"proxy-authorization", b"Basic eA=="),
        )
        found = environment(head=request_head(headers=fields))
        self.assertEqual([name for name in found if name.startswith("HTTP_")], ["HTTP_ACCEPT"])
        found = environment({"cgi_pass_authorization": True}, head=request_head(headers=fields))
        self.assertEqual(found["HTTP_AUTHORIZATION"], "Basic eA==")

    def test_cgi_03_octets(self) -> None:
        """Octets that are not UTF-8 reach the script as they came."""
        found = environment(head=request_head(target=b"/cgi-bin/x?\xff\xe9", headers=((b"x-raw", b"\xff"),)))
        self.assertEqual(os.fsencode(found["QUERY_STRING"]), b"\xff\xe9")
        self.assertEqual(os.fsencode(found["HTTP_X_RAW"]), b"\xff")

    def test_cgi_03_added(self) -> None:
        """Only what cgi_pass_env names is inherited; cgi_env wins over everything."""
        options = {"cgi_pass_env": ("TZ", "MISSING"), "cgi_env": (("PATH", "/opt"), ("MORE", "a=b"))}
        found = environment(options, inherited={"TZ": "UTC", "SECRET": "x"})
        self.assertEqual((found["TZ"], found["PATH"], found["MORE"]), ("UTC", "/opt", "a=b"))
        self.assertFalse({"SECRET", "MISSING"} & set(found))

    def test_cgi_03_clean(self) -> None:
        """What systemd says to the daemon alone is not inherited by children."""
        private = dict.fromkeys(
            ("NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY"), "x"
        )
        self.assertEqual(clean_environment({**private, "TZ": "UTC"}), {"TZ": "UTC"})

    @given(
        st.lists(
            st.tuples(
                st.from_regex(rb"[a-z0-9!#$%&'*+.^_`|~-]{1,12}", fullmatch=True),
                st.binary(max_size=20).filter(lambda value: b"\0" not in value),
            )
        )
    )
    @settings(derandomize=True, deadline=None)
    def test_cgi_03_any_fields(self, fields: list[tuple[bytes, bytes]]) -> None:
        """Whatever a peer's fields are called, each variable's name is one to a shell, and none but HTTP_* comes."""
        head = request_head(headers=tuple(fields))
        allowed = set(environment()) | {"CONTENT_LENGTH", "CONTENT_TYPE"}
        for name in set(environment(head=head)) - allowed:
            self.assertRegex(name, r"\AHTTP_[A-Z0-9_]+\Z")
            self.assertNotEqual(name, "HTTP_PROXY")


class ArgumentsTest(SynchronousTestCase):
    """RFC 3875, section 4.4."""

    def words(self, query: bytes, *, on: bool = True, method: str = "GET") -> tuple[str, ...]:
        return script_arguments(request_head(method, b"/x?" + query), evolve(CgiSettings(), cgi_query_arguments=on))

    def test_cgi_04_off(self) -> None:
        """A query is no argument unless asked."""
        self.assertEqual(self.words(b"a+b", on=False), ())

    def test_cgi_04_words(self) -> None:
        """The words between plus signs are decoded; a query with "=", a POST and no query have none."""
        self.assertEqual(self.words(b"a+b%20c"), ("a", "b c"))
        self.assertEqual(self.words(b"a=b"), ())
        self.assertEqual(self.words(b""), ())
        self.assertEqual(self.words(b"a", method="POST"), ())

    def test_cgi_04_options(self) -> None:
        """A word that begins with "-", or would with a NUL end early, and there are none at all."""
        for query in (b"-s", b"a+-s", b"%2ds", b"a+%2Ds", b"a%00"):
            self.assertEqual(self.words(query), ())
