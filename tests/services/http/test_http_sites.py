"""What URLs mean: hosts, places, redirects, fallbacks, error pages; as routes answer and as explain tells."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from netsvc.config.options import Context, options
from netsvc.config.scopes import Prefix, Scope, inherited, parse_prefix
from netsvc.errors import BadValue
from netsvc.services.http.explain import ask, explain, listens_for
from netsvc.services.http.settings import HttpSettings
from netsvc.services.http.site.error_pages import ErrorPages
from netsvc.services.http.site.paths import Refused
from netsvc.services.http.site.redirects import redirect_to
from netsvc.services.http.site.routes import Equipment, Routes
from netsvc.services.http.site.settings import ScopeSettings
from netsvc.services.http.site.sites import Found, Moved, Place, Request, Sites, host_of, to_https
from netsvc.services.http.site.style import PLAIN, AnswerStyle
from tests.services.http.http_rig import Answer, Rig, write

OPTIONS = {one.key: one.value for one in options(ScopeSettings)}


def parsed(**texts: str) -> dict[str, Any]:
    """Values of options as a file gives them."""
    return {key: OPTIONS[key].parse(text, Context(Path("/"))) for key, text in texts.items()}


class SiteRig(Rig):
    """A Rig with scopes.

    :param scopes: the options of each, by its prefix.
    """

    def __init__(
        self,
        root: Path,
        scopes: dict[str, dict[str, str]] | None = None,
        authenticator: Callable[[Place], Any] = lambda _: None,
        **texts: str,
    ) -> None:
        super().__init__(root, **parsed(**texts))
        made: list[Scope] = []
        for text in sorted(scopes or {}, key=len):
            prefix = parse_prefix(text)
            around = next((one for one in reversed(made) if one.prefix.encloses(prefix)), None)
            given = parsed(**(scopes or {})[text])
            base = self.settings if around is None else around.settings
            made.append(Scope(prefix, frozenset(given), inherited(base, ScopeSettings, given)))
        values = {one.name: getattr(self.settings, one.name) for one in HttpSettings.__attrs_attrs__}  # type: ignore[attr-defined]
        self.settings = HttpSettings(**{**values, "scopes": tuple(made)})
        self.sites = Sites(self.settings)
        self.ran: list[tuple[Any, Any]] = []
        self.mounted: list[Any] = []
        plain = next(iter(self.routes._equipment.values()))

        class Mount:
            def answer(_, exchange: Any, at: Any, names: Any, directory: bool) -> None:
                self.mounted.append((at, names, directory))
                exchange.answer(200, (), b"mounted")

        def run_script(exchange: Any, script: Any) -> None:
            self.ran.append((exchange, script))
            exchange.answer(200, (), f"{script.script_name}|{script.path_info}".encode())

        def equipment(place: Place) -> Equipment:
            return Equipment(
                style=AnswerStyle(fields=((b"X-Place", b"here"),)) if place.settings.headers else PLAIN,
                static=plain.static,
                listings=plain.listings,
                run_script=run_script,
                authenticator=authenticator(place),
                mounted=Mount(),
            )

        self.routes = Routes(self.sites, equipment)
        self.factory.route = self.routes.route

    def at(self, url: str, *fields: str, method: str = "GET") -> Answer:
        """The answer to a request for host and path."""
        host, _, path = url.partition("/")
        (answer,) = self.ask(
            "\r\n".join([f"{method} /{path} HTTP/1.1", f"Host: {host}", *fields, "", ""]).encode(), method
        )
        return answer


class HostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        for host in ("main", "blog", "wild"):
            write(self.root / host, "index.html", host.encode())
        (self.root / "blog" / "drafts").mkdir()

    def test_hosts(self) -> None:
        """A name of its own, then the longest wildcard, then the site for all others; case and port say nothing."""
        rig = SiteRig(
            self.root / "main",
            {
                "//blog.example.org": {"docroot": str(self.root / "blog"), "names": "www.blog.example.org"},
                "//*.example.org": {"docroot": str(self.root / "wild")},
            },
        )
        for host, body in (
            ("blog.example.org", b"blog"), ("BLOG.example.org.:8000", b"blog"), ("www.blog.example.org", b"blog"),
            ("a.example.org", b"wild"), ("a.b.example.org", b"wild"), ("example.org", b"main"), ("other", b"main"),
            ("[::1]:80", b"main"), ("127.0.0.1", b"main"), ("blog.example.org.evil", b"main"),
        ):  # fmt: skip
            self.assertEqual(rig.at(f"{host}/").body, body, host)
        self.assertEqual(str(rig.sites.site("blog.example.org").place((b"x",))), "//blog.example.org")

    @given(st.text(max_size=30))
    def test_any_host(self, host: str) -> None:
        """Any host has a site."""
        sites = Sites(HttpSettings(listen=(), docroot=Path("/")))
        self.assertEqual(sites.site(host_of(host)).places[()].host, "")

    def test_places(self) -> None:
        """The longest prefix in whole decoded names decides, whatever the spelling."""
        rig = SiteRig(
            self.root / "main",
            {"/a": {}, "/a/b c": {}, "//h/x": {}},
        )
        for path, place in (
            (b"/", "/"), (b"/ab", "/"), (b"/a", "/a"), (b"/%61/x", "/a"), (b"/a/b", "/a"), (b"/a/b%20c/d", "/a/b c"),
            (b"/a/b%20c/..", "/a"), (b"//a//", "/a"), (b"/x/../a/", "/a"),
        ):  # fmt: skip
            found = rig.sites.find("z", path)
            assert isinstance(found, Found)
            self.assertEqual(str(found.place), place, path)
        found = rig.sites.find("h", b"/x/y")
        assert isinstance(found, Found)
        self.assertEqual(str(found.place), "//h/x")
        found = rig.sites.find("h", b"/a")
        assert isinstance(found, Found)
        self.assertEqual(str(found.place), "//h/a")

    def test_the_docroot_of_a_place(self) -> None:
        """A docroot stands for the prefix of the scope that sets it, and for all scopes within."""
        write(self.root / "other", "in/file.txt", b"inner")
        rig = SiteRig(self.root / "main", {"/docs": {"docroot": str(self.root / "other")}, "/docs/in": {}})
        self.assertEqual(rig.at("h/docs/in/file.txt").body, b"inner")
        answer = rig.at("h/docs")
        self.assertEqual((answer.status, answer.headers[b"location"]), (301, b"/docs/"))
        self.assertEqual(rig.at("h/docs/../docs/in").headers[b"location"], b"/docs/in/")
        self.assertEqual(rig.at("h/docs/..%2fmain/index.html").status, 404)
        self.assertEqual(rig.at("h/docs/../index.html").body, b"main")

    def test_scripts_of_a_place(self) -> None:
        """A CGI directory may lie elsewhere (as ScriptAlias has it): nothing of it is ever shown."""
        write(self.root / "scripts", "a.py", b"#!/bin/sh\n")
        rig = SiteRig(self.root / "main", {"/cgi-bin": {"docroot": str(self.root / "scripts")}})
        self.assertEqual(rig.at("h/cgi-bin/a.py/x/y").body, b"/cgi-bin/a.py|/x/y")
        self.assertEqual(rig.at("h/cgi-bin/").status, 403)
        self.assertEqual(rig.at("h/CGI-BIN/a.py").status, 404)
        self.assertEqual(rig.ran[0][1].docroot, self.root / "scripts")

    def test_paths_of_a_docroot_that_is_a_cgi_directory(self) -> None:
        """A docroot that is called as CGI directories are is one, under whatever path: nothing of it is ever shown."""
        write(self.root / "lib" / "cgi-bin", "a.py", b"#!/bin/sh\n")
        rig = SiteRig(self.root / "main", {"/run": {"docroot": str(self.root / "lib" / "cgi-bin")}})
        self.assertEqual(rig.at("h/run/a.py/x").body, b"/run/a.py|/x")
        self.assertEqual(rig.at("h/run/").status, 403)

    def test_a_host_that_shows_the_common_docroot(self) -> None:
        """What is said of a path for all hosts holds at a host without a docroot of its own, and at no other."""
        write(self.root / "main", "private/x", b"secret")
        rig = SiteRig(
            self.root / "main",
            {
                "/private": {"auth_file": "/users", "headers": "A: b"},
                "/private/open": {"auth_file": "none"},
                "//same/deep": {"listing": "yes"},
                "//own": {"docroot": str(self.root / "blog")},
                "//more": {"index": "x"},
                "//more/private": {"headers": "C: d"},
                "//more/private/in": {"listing": "yes"},
            },
        )

        def at(host: str, path: bytes) -> Place:
            found = rig.sites.find(host, path)
            assert isinstance(found, Found)
            return found.place

        for host in ("any", "same", "more"):
            self.assertEqual(at(host, b"/private/x").settings.auth_file, Path("/users"), host)
            self.assertIsNone(at(host, b"/private/open/x").settings.auth_file, host)
        self.assertEqual(at("more", b"/private/in/x").settings.auth_file, Path("/users"))
        self.assertEqual(at("more", b"/private/x").settings.headers, (("C", "d"),))
        self.assertEqual(at("more", b"/private/x").settings.index, ("x",))
        self.assertEqual(str(at("own", b"/private/x")), "//own")

    def test_scripts_of_hosts_share_limits(self) -> None:
        """The scope that set an option of CGI last is the same for all hosts that have nothing else around it."""
        rig = SiteRig(
            self.root / "main", {"/a": {"cgi_umask": "077"}, "//h": {"listing": "yes"}, "//own": {"cgi_nice": "2"}}
        )
        at = {(place.host, place.prefix): str(place.cgi_at) for place in rig.sites.places}
        self.assertEqual(at["h", ()], "/")
        self.assertEqual((at["", (b"a",)], at["h", (b"a",)]), ("/a", "/a"))
        self.assertEqual((at["own", ()], at["own", (b"a",)]), ("//own", "//own/a"))


class WayTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        write(self.root, "index.html", b"app")
        write(self.root, "a/index.html", b"inner")
        write(self.root, "errors/404.html", b"<p>lost")
        write(self.root, "errors/500.txt", b"down")

    def test_redirects(self) -> None:
        """The first rule that fits is taken; the rest and the query go along, encoded anew."""
        rules = parsed(
            redirect="/old /new\n/blog/* https://b.example/*\n/q /t?x=1 302\n/here/* /there/* 308\n/all/* https://c.example"
            "\n/part /whole#part"
        )["redirect"]
        for names, directory, query, location in (
            ((b"old",), False, b"", (301, b"/new")),
            ((b"old",), True, b"a=b", (301, b"/new?a=b")),
            ((b"old", b"x"), False, b"", None),
            ((b"blog",), True, b"", (301, b"https://b.example/")),
            ((b"blog", b"a b", b"c?"), True, b"z", (301, b"https://b.example/a%20b/c%3F/?z")),
            ((b"q",), False, b"y=2", (302, b"/t?x=1")),
            ((b"here", b"", b"evil.example"), False, b"", (308, b"/there//evil.example")),
            ((b"all", b"x"), False, b"", (301, b"https://c.example")),
            ((b"part",), False, b"z", (301, b"/whole?z#part")),
            ((b"none",), False, b"", None),
        ):
            self.assertEqual(redirect_to(rules, names, directory, query), location, names)

    def test_redirects_read_back(self) -> None:
        """A rule is shown as it can be read again; what is none is told."""
        kind = OPTIONS["redirect"]
        for text in ("/a /b", "/a/* /b/* 308", "/é/* https://x.example/*"):
            rules = kind.parse(text, Context(Path("/")))
            self.assertEqual(kind.parse(kind.show(rules), Context(Path("/"))), rules)
        for text in (
            "/a", "/a b", "/a /b 200", "/a /b x", "a /b", "/a //evil", "/a/* https://evil*", "/a/* https://e/*x",
            "/a /b/*", "/a*b /c", "/a /b /c 301", "/a ftp://x/", "/../a /b", "/a /é", "/a /b 30\uff11",
        ):  # fmt: skip
            with self.assertRaises(BadValue, msg=text):
                kind.parse(text, Context(Path("/")))

    def test_redirects_that_never_end(self) -> None:
        """A rule that leads back to itself, at once or by others, is a fault; one that another one catches is none."""
        for text in ("/* /x", "/a /a/", "/a /b\n/b /a", "/a/* /a/b/*", "/a /a?x"):
            with self.assertRaisesRegex(BadValue, "leads back to itself", msg=text):
                parsed(redirect=text)
        for text in ("/x https://a.example/\n/* /x", "/a/* https://a.example/a/*", "/a/* /b/*"):
            parsed(redirect=text)

    def test_redirects_answered(self) -> None:
        """A redirect comes before what stands in the docroot, for every method."""
        rig = SiteRig(self.root, redirect="/index.html /elsewhere 308")
        answer = rig.at("h/index.html?x", method="POST")
        self.assertEqual((answer.status, answer.headers[b"location"]), (308, b"/elsewhere?x"))

    def test_https(self) -> None:
        """Peers without TLS are sent to https with path and query; a certificate's challenge is answered."""
        write(self.root, ".well-known/acme-challenge/token", b"ok")
        rig = SiteRig(self.root, {"//p": {"https_port": "8443"}}, https="redirect")
        answer = rig.at("h.example:8000/a%20b/?x=%41")
        self.assertEqual((answer.status, answer.headers[b"location"]), (301, b"https://h.example/a%20b/?x=%41"))
        self.assertEqual(rig.at("p/x", method="POST").headers[b"location"], b"https://p:8443/x")
        self.assertEqual(rig.at("p/x", method="POST").status, 308)
        self.assertEqual(rig.at("h/.well-known/acme-challenge/token").body, b"ok")
        (answer,) = rig.ask(b"GET /x HTTP/1.0\r\n\r\n")
        self.assertEqual((answer.status, answer.headers[b"location"]), (301, b"https://127.0.0.1/x"))

    def test_https_without_a_host(self) -> None:
        """A peer that names no host, on a socket without an address, goes to the site's name; 400 if it has none."""
        rig = SiteRig(self.root, https="redirect", names="*.example.org, www.example.org")
        found = rig.sites.find("", b"/x")
        assert isinstance(found, Found)
        for host in ("", ".", ":80"):
            moved = to_https(found, Request(host=host, path=b"/x"))
            self.assertEqual(moved, Moved(301, b"https://www.example.org/x", "https = redirect"), host)
        nameless = SiteRig(self.root, https="redirect").sites.find("", b"/x")
        assert isinstance(nameless, Found)
        refused = to_https(nameless, Request(host="", path=b"/x"))
        assert isinstance(refused, Refused)
        self.assertEqual(refused.status, 400)
        self.assertEqual(SiteRig(self.root, https="redirect").at("./x").status, 400)

    def test_fallback(self) -> None:
        """What is not there is another page with 200; what is forbidden, what is no GET, and scripts are not."""
        rig = SiteRig(self.root, fallback="/index.html")
        self.assertEqual((rig.at("h/some/view").status, rig.at("h/some/view").body), (200, b"app"))
        self.assertEqual(rig.at("h/some/view", method="HEAD").status, 200)
        self.assertEqual(rig.at("h/some/view", method="POST").status, 404)
        self.assertEqual(rig.at("h/errors/").status, 403)
        self.assertEqual(rig.at("h/a/%zz").status, 400)
        for nothing in ("/none.html", "/errors/", "/%zz"):
            self.assertEqual(SiteRig(self.root, fallback=nothing).at("h/some/view").status, 404)

    def test_mounted(self) -> None:
        """A mounted resource is given the names before and behind its place."""
        rig = SiteRig(self.root, {"/app": {"mount": "os:path"}, "/app/in": {}})
        self.assertEqual(rig.at("h/app/in/x/", method="POST").body, b"mounted")
        self.assertEqual(rig.mounted, [((b"app",), (b"in", b"x"), True)])
        self.assertEqual(rig.at("h/index.html").body, b"app")

    def test_gates(self) -> None:
        """Who is not admitted gets nothing; an index file behind a gate of its own is reached by its own name only."""

        class Gate:
            opens = False

            def admit(self, exchange: Any, go_on: Callable[[], None]) -> None:
                if self.opens:
                    go_on()
                else:
                    exchange.refuse(401)

        gate = Gate()
        rig = SiteRig(
            self.root,
            {"/a/index.html": {"auth_file": "/users"}, "/errors": {}},
            authenticator=lambda place: gate if place.prefix[:1] == (b"a",) else None,
            fallback="/a/index.html",
        )
        self.assertEqual(rig.at("h/a/index.html").status, 401)
        answer = rig.at("h/a/")
        self.assertEqual((answer.status, answer.headers[b"location"]), (301, b"/a/index.html"))
        self.assertEqual(rig.at("h/nothing").status, 404)
        gate.opens = True
        self.assertEqual(rig.at("h/a/index.html").body, b"inner")

    def test_https_of_an_index_file_and_of_a_fallback(self) -> None:
        """What may be seen over TLS only is not shown without, by an index or a fallback either."""
        rig = SiteRig(self.root, {"/a/index.html": {"https": "redirect"}}, fallback="/a/index.html")
        self.assertEqual(rig.at("h/a/").headers[b"location"], b"/a/index.html")
        self.assertEqual(rig.at("h/a/index.html").headers[b"location"], b"https://h/a/index.html")
        self.assertEqual(rig.at("h/nothing").status, 404)

    def test_style(self) -> None:
        """A place's fields are on its answers, errors too, and on no other's."""
        rig = SiteRig(self.root, {"/a": {"headers": "X-Place: here"}})
        self.assertEqual(rig.at("h/a/index.html").headers[b"x-place"], b"here")
        self.assertEqual(rig.at("h/a/none").headers[b"x-place"], b"here")
        rig = SiteRig(self.root, {"//h": {"headers": "X-Place: here"}})
        for start in ("OPTIONS *", "CONNECT h:80"):
            (answer,) = rig.ask(f"{start} HTTP/1.1\r\nHost: h:80\r\n\r\n".encode())
            self.assertEqual(answer.headers[b"x-place"], b"here", start)
        rig = SiteRig(self.root, {"/a": {"headers": "X-Place: here"}})
        self.assertNotIn(b"x-place", rig.at("h/index.html").headers)

    def test_error_pages(self) -> None:
        """A site's own page is sent, and everything that was opened for it is closed, compressed ones too."""
        write(self.root, "errors/404.html.gz", b"packed")
        settings = SiteRig(self.root).settings
        sites = Sites(settings)

        def look(path: bytes) -> Any:
            found = sites.find("", path)
            return sites.look(found)[1] if isinstance(found, Found) else found[1]

        before = len(os.listdir("/proc/self/fd"))
        pages = ErrorPages(parsed(error_pages="404 /errors/404.html\n403 /errors/\n5xx /none")["error_pages"], look)
        self.assertEqual(pages.page(404, None, "id")[1], b"<p>lost")
        self.assertIn(b"403", pages.page(403, None, "id")[1])
        self.assertIn(b"500", pages.page(500, None, "id")[1])
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    def test_values(self) -> None:
        """Fields, pages and names are checked as they are read."""
        for key, text in (
            ("headers", "X"), ("headers", "Content-Length: 5"), ("headers", "X: \x7f"), ("headers", "A b: c"),
            ("error_pages", "404"), ("error_pages", "200 /x"), ("error_pages", "404 x"), ("fallback", "x"),
            ("names", "a/b"), ("names", "a:8"), ("https", "yes"), ("https_port", "0"),
        ):  # fmt: skip
            with self.assertRaises(BadValue, msg=text):
                parsed(**{key: text})
        for key, text in (("headers", "A: b\nC: d"), ("error_pages", "404 /x\n5xx /y"), ("names", "a, *.b")):
            self.assertEqual(OPTIONS[key].show(parsed(**{key: text})[key]), text)


class ExplainTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp()).absolute()
        write(self.root, "index.html", b"app")
        write(self.root, "cgi-bin/a.py", b"#!/bin/sh\n")
        write(self.root, "cgi-bin/b.py", b"#!/bin/sh\n")
        os.chmod(self.root / "cgi-bin" / "a.py", 0o755)
        (self.root / "d").mkdir()
        self.rig = SiteRig(
            self.root,
            {
                "/app": {"mount": "os:path"},
                "//s": {"https": "redirect"},
                "//t": {"docroot": str(self.root / "d"), "listing": "yes"},
                "/f": {"fallback": "/index.html"},
            },
            redirect="/old /new",
        )

    def told(self, url: str, method: str = "GET") -> tuple[str, dict[str, Any]]:
        told = explain(self.rig.settings, ask(url, method))
        return dict(told.steps)["answer"], told.facts

    def test_answers(self) -> None:
        """Each kind of answer is told in words, and as facts."""
        for url, start, fact in (
            ("http://h/", "200: the file", ("size", 3)), ("http://h", "200: the file", ("status", 200)),
            ("http://h/old?x", "301 to /new?x (redirect)", ("status", 301)),
            ("http://h/app/x", "the mounted resource", ("path", "/app/x")),
            ("http://s:80/x?y", "301 to https://s/x?y", ("status", 301)),
            ("https://s/x", "404", ("reason", "no such file or directory")),
            ("http://h/d", "301 to /d/", ("status", 301)), ("http://h/d/", "403: a directory", ("status", 403)),
            ("http://h/f/x", "200: the file", ("fallback", "/index.html")),
            ("http://h/cgi-bin/a.py/x", "runs ", ("path_info", "/x")),
            ("http://h/é b", "404", ("path", "/é b")), ("http://h/..", "400", ("status", 400)),
        ):  # fmt: skip
            text, facts = self.told(url)
            self.assertTrue(text.startswith(start), (url, text))
            self.assertEqual(facts[fact[0]], fact[1], url)
        self.assertEqual(self.told("http://h/", "POST")[1]["status"], 405)
        steps = explain(self.rig.settings, ask("http://h/cgi-bin/b.py", "GET")).steps
        self.assertIn("no execute bit", steps[-1][1])

    @given(st.data())
    def test_what_is_told_is_answered(self, data: st.DataObject) -> None:
        """Status, place to go and file of any URL are the same in what is told and in what is answered."""
        names = st.sampled_from(
            (
                "",
                ".",
                "..",
                "%2e%2e",
                "a",
                "d",
                "index.html",
                "old",
                "app",
                "f",
                "cgi-bin",
                "CGI-BIN",
                "a.py",
                "%zz",
                "%2f",
            )
        )
        path = "/".join(data.draw(st.lists(names, max_size=4)))
        query = data.draw(st.sampled_from(("", "?x")))
        host = data.draw(st.sampled_from(("h", "S", "s.:80", "t")))
        method = data.draw(st.sampled_from(("GET", "HEAD", "POST", "OPTIONS", "PUT", "MKCOL", "DELETE")))
        told = explain(self.rig.settings, ask(f"http://{host}/{path}{query}", method)).facts
        answer = self.rig.at(
            f"{host}/{path}{query}", *(("Content-Length: 0",) if method in ("POST", "PUT") else ()), method=method
        )
        if "script" not in told:
            self.assertEqual(answer.status, told.get("status", 200))
        self.assertEqual(answer.headers.get(b"location", b"").decode(), told.get("location", ""))
        if "file" in told and method == "GET":
            self.assertEqual(answer.body, Path(told["file"]).read_bytes())

    def test_what_is_sent_instead(self) -> None:
        """A fallback and an index file behind a gate of its own are told as they are answered."""
        write(self.root, "d/index.html", b"inner")
        self.rig = SiteRig(
            self.root,
            {
                "/d/index.html": {"auth_file": "/users"},
                "/none": {"fallback": "/missing"},
                "/shut": {"fallback": "/d/index.html"},
                "/f": {"fallback": "/index.html"},
            },
        )
        self.assertEqual(self.told("http://h/d/")[0], "301 to /d/index.html: its index file has a gate of its own")
        for url, method, status in (
            ("http://h/f/x", "GET", 200), ("http://h/f/x", "POST", 404), ("http://h/none/x", "GET", 404),
            ("http://h/shut/x", "GET", 404), ("http://h/", "OPTIONS", 204), ("http://h/", "PUT", 405),
            ("http://h/none/x", "PUT", 405), ("http://h/none/x", "MKCOL", 405), ("http://h/cgi-bin/x", "PUT", 404),
        ):  # fmt: skip
            self.assertEqual(self.told(url, method)[1]["status"], status, (url, method))

    def test_types(self) -> None:
        """The type of a file is that of its place."""
        write(self.root, "a.foo", b"")
        (self.root / "types").write_text("text/x-bar bar\n")
        write(self.root, "a.bar", b"")
        self.rig = SiteRig(self.root, types=".foo text/x-foo", types_file=str(self.root / "types"))
        self.assertEqual(self.told("http://h/a.foo")[1]["type"], "text/x-foo; charset=utf-8")
        self.assertEqual(self.told("http://h/a.bar")[1]["type"], "text/x-bar; charset=utf-8")

    def test_international_names(self) -> None:
        """A name of a host is taken as a browser sends it."""
        self.rig = SiteRig(self.root, {"//bücher.example": {"https": "redirect"}})
        self.assertEqual(self.told("http://Bücher.example:80/")[1]["location"], "https://xn--bcher-kva.example/")
        with self.assertRaises(BadValue):
            ask("http://a..é/", "GET")

    def test_urls(self) -> None:
        """What is no URL is told; a port is the scheme's own when none is given."""
        for url in ("", "h/x", "ftp://h/", "http:///x"):
            with self.assertRaises(BadValue, msg=url):
                ask(url, "GET")
        self.assertEqual((ask("https://a:1/", "GET").port, ask("https://a/", "GET").port), (1, 443))
        self.assertFalse(listens_for(self.rig.settings, ask("http://h/", "GET")))

    def test_no_twisted(self) -> None:
        """What a URL means is told without Twisted."""
        code = "import sys, netsvc.services.http.explain; print('twisted' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        self.assertEqual(found.strip(), "False")

    def test_prefix(self) -> None:
        """A place is shown as its section names it."""
        self.assertEqual(str(Prefix("h", ("a",))), "//h/a")
