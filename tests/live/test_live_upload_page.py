"""Putting files into a directory from its page, in Chromium, against a real twistd."""

from __future__ import annotations

import filecmp
import hashlib
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import bcrypt

from tests.live.cut_proxy import CutProxy
from tests.live.daemon import Daemon
from tests.ports import free_port
from tests.runtime.certificates import make_certificate
from tests.shared import SharedCase
from tests.waiting import wait_until

CHROMIUM = shutil.which("chromium")
MIB = 1 << 20
PATIENCE = 120_000  # milliseconds; a loaded CI machine is slow
DROP = """([names]) => {
  const transfer = new DataTransfer();
  for (const [name, text] of names) transfer.items.add(new File([text], name));
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector("main").dispatchEvent(
      new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


class Case(SharedCase):
    """Tests that share one daemon and one site."""

    daemon: ClassVar[Daemon]
    place: ClassVar[Path]

    @classmethod
    def set_up_shared(cls) -> None:
        cls.place = Path(tempfile.mkdtemp(prefix="netsvc-upload-page-"))
        cls.place.chmod(0o755)
        for name in ("in", "keep", "private", "small"):
            (cls.place / name).mkdir()
        word = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode("ascii")
        (cls.place / ".users").write_text(f"alice:{word}\n")
        cls.daemon = Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {cls.place}\nlisting = yes\n"
            "[http /in]\nupload = yes\nupload_anonymous = yes\nupload_delete = yes\nupload_directories = yes\n"
            "[http /keep]\nupload = yes\nupload_anonymous = yes\n"
            f"[http /small]\ndocroot = {cls.place}/small\nupload = yes\nupload_anonymous = yes\nquota = 1MiB\n"
            f"[http /private]\nupload = yes\nauth_file = {cls.place / '.users'}\nupload_access = * upload-only\n"
        ).__enter__()

    @classmethod
    def tear_down_shared(cls) -> None:
        cls.daemon.close()
        shutil.rmtree(cls.place)

    def setUp(self) -> None:
        super().setUp()
        from playwright.sync_api import sync_playwright  # slow, and for this class only

        playwright = sync_playwright().start()
        self.addCleanup(playwright.stop)
        self.browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        self.addCleanup(self.browser.close)
        self.files = Path(tempfile.mkdtemp(prefix="netsvc-upload-files-"))
        self.addCleanup(shutil.rmtree, self.files)
        self.said: list[str] = []
        self.port = self.daemon.port("http")
        (self.place / "in" / self.id().rpartition(".")[2]).mkdir()
        self.directory = self.place / "in" / self.id().rpartition(".")[2]

    def tearDown(self) -> None:
        self.assertNotRegex(self.daemon.log(), "Traceback|Unhandled")
        bad = [one for one in self.said if not re.search(r"status of (4\d\d|507)|net::ERR_", one)]
        self.assertEqual(bad, [])

    def context(self, **options: Any) -> Any:
        context = self.browser.new_context(viewport={"width": 1280, "height": 800}, **options)
        context.set_default_timeout(PATIENCE)
        self.addCleanup(context.close)
        return context

    def look(self, context: Any = None, port: int = 0) -> Any:
        """The page of this test's own directory."""
        page = (context or self.context()).new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.goto(f"http://127.0.0.1:{port or self.port}/in/{self.directory.name}/")
        return page

    def file(self, name: str, data: bytes) -> str:
        path = self.files / name
        path.write_bytes(data)
        return str(path)

    def stored(self) -> dict[str, bytes]:
        return {one.name: one.read_bytes() for one in self.directory.iterdir() if not one.name.startswith(".netsvc")}

    def wait_for(self, page: Any, text: str) -> None:
        page.get_by_text(text).first.wait_for()


class RestartTest(Case):
    """The daemon is killed meanwhile."""

    def test_file_abuse_49_restart_in_an_upload_of_a_browser(self) -> None:
        """A daemon that is killed in an upload and started again is handed the rest; the page needs no hand."""
        data = bytes(range(256)) * (8 * MIB // 256)
        port = free_port()
        with (
            Daemon(
                f"[http]\nlisten = tcp:{port}:interface=127.0.0.1\ndocroot = {self.place}\nlisting = yes\n"
                "upload = yes\nupload_anonymous = yes\n"
            ) as daemon,
            CutProxy(port) as proxy,
        ):
            page = self.look(port=proxy.port)
            proxy.rate = 1_500_000
            page.set_input_files("#files", self.file("a.bin", data))
            wait_until(lambda: proxy.passed > 4 * MIB)
            daemon.stop(signal.SIGKILL)
            self.wait_for(page, "The connection broke. Trying again in")
            daemon.start()
            proxy.rate = None
            page.locator("#list").get_by_role("link", name="a.bin").wait_for()
            self.assertEqual(self.stored(), {"a.bin": data})


class FormTest(SharedCase):
    """Forms of programs."""

    def test_form_of_any_size(self) -> None:
        """A form of 150 MiB is stored octet for octet, and the daemon's memory stays as it was."""
        place = Path(tempfile.mkdtemp(prefix="netsvc-form-"))
        self.addCleanup(shutil.rmtree, place)
        (place / "in").mkdir()
        large = place / "large"
        block = hashlib.shake_256(b"netsvc").digest(MIB)
        with large.open("wb") as file:
            for _ in range(150):
                file.write(block)
        with Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {place}/in\nupload = yes\nupload_anonymous = yes\n"
        ) as daemon:
            url = f"http://127.0.0.1:{daemon.port('http')}/"
            curl = ("curl", "-sS", "-o", str(place / "answer"), "-w", "%{http_code}", "-F", "note=x")
            subprocess.run((*curl, "-F", f"file=@{large};filename=first", url), check=True, timeout=180)
            before = daemon.resident()
            whole = (*curl, "-F", f"file=@{large}", url)
            found = subprocess.run(whole, stdout=subprocess.PIPE, timeout=180, check=True)
            self.assertTrue(found.stdout.endswith(b"303"), found.stdout)
            self.assertLess(daemon.resident() - before, 16 * MIB)
        self.assertTrue(filecmp.cmp(large, place / "in/large", shallow=False))


class PartsTest(Case):
    """Requests that may not be long."""

    def test_upload_page_in_parts(self) -> None:
        """A file that is longer than a request may be goes up in several."""
        data = bytes(range(256)) * (3 * MIB // 256) + b"end"
        with Daemon(
            f"[http]\nlisten = tcp:0:interface=127.0.0.1\ndocroot = {self.directory}\nlisting = yes\n"
            "upload = yes\nupload_anonymous = yes\nmax_body = 1MiB\n"
        ) as daemon:
            page = self.context().new_page()
            page.goto(f"http://127.0.0.1:{daemon.port('http')}/")
            page.set_input_files("#files", self.file("a.bin", data))
            page.locator("#list").get_by_role("link", name="a.bin").wait_for()
            self.assertEqual(self.stored(), {"a.bin": data})


class TlsTest(Case):
    """The same over HTTP/2."""

    def test_upload_page_over_http2(self) -> None:
        """Over TLS browsers speak HTTP/2: files go up by it, several at once, and the page needs nothing else."""
        certificate, key = make_certificate(self.files, "netsvc.test")
        data = bytes(range(256)) * (6 * MIB // 256)
        with Daemon(
            f"[http]\nlisten = tls:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}\n"
            f"docroot = {self.directory}\nlisting = yes\nupload = yes\nupload_anonymous = yes\n"
        ) as daemon:
            page = self.context(ignore_https_errors=True).new_page()
            page.on("console", lambda message: self.said.append(message.text))
            page.goto(f"https://127.0.0.1:{daemon.port('http', 'tls')}/")
            self.assertEqual(page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol"), "h2")
            page.set_input_files("#files", [self.file(f"{at}.bin", data) for at in range(4)])
            for at in range(4):
                page.locator("#list").get_by_role("link", name=f"{at}.bin").wait_for()
            self.assertEqual(self.stored(), {f"{at}.bin": data for at in range(4)})


class UploadPageTest(Case):
    """What a person does on the page."""

    def test_upload_page_drop(self) -> None:
        """Files that are dropped on the page are stored, and join the list without a reload."""
        page = self.look()
        page.evaluate("window.same = true")
        names = [["a.txt", "one"], ["日本語 #1?.txt", "two"], ["e\u0301.txt", "three"], ["empty", ""]]
        page.evaluate(DROP, [names])
        page.locator("#list").get_by_role("link", name="empty").wait_for()
        want = {"a.txt": b"one", "日本語 #1?.txt": b"two", "\u00e9.txt": b"three", "empty": b""}
        wait_until(lambda: self.stored() == want)
        for name in want:
            page.locator("#list").get_by_role("link", name=name, exact=True).wait_for()
        page.locator("#panel li").first.wait_for(state="detached")
        self.assertEqual(page.locator("#panel li").count(), 0)
        self.assertTrue(page.evaluate("window.same"))
        self.assertIn("4 files", page.locator("#list").inner_text())

    def test_upload_page_get(self) -> None:
        """A file's link downloads it, octet for octet, under its name."""
        data = hashlib.shake_256(b"get").digest(3 * MIB)
        (self.directory / "ü b.bin").write_bytes(data)
        page = self.look()
        with page.expect_download() as got:
            page.locator("#list").get_by_role("link", name="ü b.bin", exact=True).click()
        self.assertEqual(got.value.suggested_filename, "ü b.bin")
        self.assertEqual(Path(got.value.path()).read_bytes(), data)

    def test_upload_page_drag_from_the_desk(self) -> None:
        """Files and a folder that are dragged with the mouse: the files are stored, the folder is refused in words."""
        page = self.look()
        (self.files / "photos").mkdir()
        self.file("photos/inner.txt", b"x")
        paths = [self.file("a.txt", b"one"), str(self.files / "photos")]
        session = page.context.new_cdp_session(page)
        for kind in ("dragEnter", "dragOver", "drop"):
            data = {"items": [], "files": paths, "dragOperationsMask": 1}
            session.send("Input.dispatchDragEvent", {"type": kind, "x": 400, "y": 300, "data": data})
            if kind == "dragOver":
                self.assertIn("over", page.locator("#panel").get_attribute("class"))
        page.locator("#list").get_by_role("link", name="a.txt").wait_for()
        row = page.locator("#panel li", has_text="photos/")
        self.assertIn("Folders are not taken. Drop the files that are in it.", row.inner_text())
        row.get_by_role("button", name="Dismiss photos/").click()
        row.wait_for(state="detached")
        self.assertEqual(self.stored(), {"a.txt": b"one"})
        self.assertNotIn("over", page.locator("#panel").get_attribute("class"))

    def test_upload_page_progress(self) -> None:
        """Three files go at once and the others wait; a row shows how far it is, the rate and the time left."""
        with CutProxy(self.port) as proxy:
            page = self.look(port=proxy.port)
            proxy.rate = 1_000_000
            page.set_input_files("#files", [self.file(f"{at}.bin", bytes(16 * MIB)) for at in range(5)])
            text = page.locator("#panel li", has_text="0.bin").locator("small")
            wait_until(lambda: re.search(r"MiB of 16.0 MiB, [0-9.]+ [KM]iB/s, \d+ s left", text.inner_text()))
            bar = page.get_by_role("progressbar", name="Progress of 0.bin")
            self.assertTrue(0 < bar.evaluate("(one) => one.position") < 1)
            texts = page.locator("#panel li small").all_inner_texts()
            self.assertEqual([one == "Waiting." for one in texts], [False, False, False, True, True])
            page.get_by_role("button", name="Cancel 4.bin").click()
            page.get_by_role("button", name="Cancel 0.bin").click()
            proxy.rate = None
            page.locator("#list").get_by_role("link", name="3.bin").wait_for()
            wait_until(lambda: page.locator("#panel li").count() == 0)
        self.assertEqual(set(self.stored()), {"1.bin", "2.bin", "3.bin"})
        wait_until(lambda: not list(self.directory.glob(".netsvc*")), "the cancelled upload is still there")

    def test_file_abuse_21_names_on_the_upload_page(self) -> None:
        """A name that is refused says so beside the file, in the server's words, without an offer to try it again;
        nothing is shown as HTML or raw.
        """
        page = self.look()
        names = [[".hidden", "x"], ["<img src=x onerror=alert(1)>", "x"], ["r\u202egnp.exe", "x"], ["a\x1bb", "x"]]
        page.evaluate(DROP, [names])
        row = page.locator("#panel li", has_text=".hidden")
        row.get_by_text("The name begins with a dot.").wait_for()
        self.assertEqual(row.locator("bdi").inner_text(), ".hidden")
        self.assertEqual(row.get_by_role("button").all_inner_texts(), ["Dismiss"])
        self.wait_for(page, "rU+202Egnp.exe")
        self.wait_for(page, "aU+001Bb")
        page.locator("#list").get_by_role("link", name="<img src=x onerror=alert(1)>").wait_for()
        self.assertEqual(page.locator("img").count(), 0)
        wait_until(lambda: page.locator("#panel li.bad").count() == 3)
        self.assertNotRegex(page.locator("main").inner_text(), "[\x1b\u202e]")
        self.assertEqual(set(self.stored()), {"<img src=x onerror=alert(1)>"})

    def test_upload_page_quota(self) -> None:
        """A file that has no room is refused in words beside it, before it is sent; others have theirs."""
        page = self.look()
        page.goto(f"http://127.0.0.1:{self.port}/small/")
        page.set_input_files("#files", [self.file("large.bin", bytes(2 * MIB)), self.file("a.txt", b"one")])
        row = page.locator("#panel li.bad", has_text="large.bin")
        row.get_by_text("quota").wait_for()
        self.assertRegex(row.locator("small").inner_text(), r"^[A-Z][^<]+\.$")
        page.locator("#list").get_by_role("link", name="a.txt").wait_for()
        self.assertEqual([one.name for one in (self.place / "small").glob("[!.]*")], ["a.txt"])

    def test_upload_page_replace(self) -> None:
        """A file that is there is replaced only when the person says so."""
        (self.directory / "a.txt").write_bytes(b"old")
        (self.directory / "b.txt").write_bytes(b"old")
        page = self.look()
        page.set_input_files("#files", [self.file("a.txt", b"new"), self.file("b.txt", b"new")])
        self.wait_for(page, "There is a file of this name. Replace it?")
        page.get_by_role("button", name="Keep b.txt").click()
        page.get_by_role("button", name="Replace a.txt").click()
        wait_until(lambda: self.stored() == {"a.txt": b"new", "b.txt": b"old"})
        wait_until(lambda: page.locator("#panel li").count() == 0)

    def test_upload_page_goes_on_when_the_network_is_back(self) -> None:
        """An upload that was cut goes on where it stood, without a hand: what had come is not sent again."""
        data = bytes(range(256)) * (4 * MIB // 256)
        with CutProxy(self.port) as proxy:
            page = self.look(port=proxy.port)
            proxy.rate = 700_000
            page.set_input_files("#files", self.file("a.bin", data))
            wait_until(lambda: proxy.passed > 2 * MIB)
            proxy.cut()
            self.wait_for(page, "The connection broke. Trying again in")
            proxy.mend()
            proxy.rate = None
            page.locator("#list").get_by_role("link", name="a.bin").wait_for()
            self.assertEqual(self.stored(), {"a.bin": data})
            self.assertLess(proxy.passed, 5.5 * MIB)

    def test_upload_page_offline(self) -> None:
        """A browser without a network waits, says so, and goes on as soon as it hears that the network is back."""
        data = bytes(4 * MIB)
        with CutProxy(self.port) as proxy:
            context = self.context()
            page = self.look(context, proxy.port)
            proxy.rate = 700_000
            page.set_input_files("#files", self.file("a.bin", data))
            wait_until(lambda: proxy.passed > MIB)
            context.set_offline(True)
            self.wait_for(page, "There is no network. This goes on when it is back.")
            proxy.rate = None
            context.set_offline(False)
            page.locator("#list").get_by_role("link", name="a.bin").wait_for()
        self.assertEqual(self.stored(), {"a.bin": data})

    def test_upload_page_goes_on_after_a_reload(self) -> None:
        """After a reload the page names what is unfinished; the same file, chosen again, goes on where it stood."""
        data = bytes(range(256)) * (4 * MIB // 256)
        path = self.file("a.bin", data)
        with CutProxy(self.port) as proxy:
            page = self.look(port=proxy.port)
            page.on("dialog", lambda dialog: dialog.accept())
            proxy.rate = 700_000
            page.set_input_files("#files", path)
            wait_until(lambda: proxy.passed > 2 * MIB)
            page.reload()
            proxy.rate = None
            self.wait_for(page, "Choose the same file again to go on.")
            before = proxy.passed
            page.set_input_files("#files", path)
            page.locator("#list").get_by_role("link", name="a.bin").wait_for()
            wait_until(lambda: page.locator("#panel li").count() == 0)
            self.assertLess(proxy.passed - before, 3 * MIB)
            self.assertEqual(page.evaluate("localStorage.length"), 0)
        self.assertEqual(self.stored(), {"a.bin": data})

    def test_upload_page_delete_and_new_folder(self) -> None:
        """Names are deleted after a question, folders are made; what is refused says why."""
        (self.directory / "a.txt").write_bytes(b"old")
        page = self.look()
        page.get_by_role("button", name="New folder").click()
        page.get_by_role("textbox", name="Name of the new folder").fill("sub dir")
        page.keyboard.press("Enter")
        page.locator("#list").get_by_role("link", name="sub dir/").wait_for()
        self.assertTrue((self.directory / "sub dir").is_dir())
        page.get_by_role("button", name="New folder").click()
        page.get_by_role("textbox", name="Name of the new folder").fill("sub dir")
        page.keyboard.press("Enter")
        page.get_by_role("alert").get_by_text("It exists.").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Delete a.txt").click()
        page.keyboard.press("Escape")
        self.assertTrue((self.directory / "a.txt").exists())
        page.get_by_role("button", name="Delete a.txt").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        self.wait_for(page, "a.txt is deleted.")
        self.assertEqual([one.name for one in self.directory.glob("[!.]*")], ["sub dir"])
        (self.directory / "sub dir/x").write_bytes(b"")
        page.get_by_role("button", name="Delete sub dir/").click()
        page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        self.wait_for(page, "sub dir/: The directory is not empty.")
        page.goto(f"http://127.0.0.1:{self.port}/keep/")
        self.assertEqual(page.get_by_role("button", name="Delete").count(), 0)
        self.assertEqual(page.get_by_role("button", name="New folder").count(), 0)

    def test_upload_page_without_a_script(self) -> None:
        """Without JavaScript the form uploads, and says in words what was refused."""
        page = self.look(self.context(java_script_enabled=False))
        page.set_input_files("#files", [self.file("a.txt", b"one"), self.file("b.txt", bytes(3 * MIB))])
        page.get_by_role("button", name="Upload", exact=True).click()
        page.get_by_role("link", name="a.txt").wait_for()
        self.assertTrue(page.url.endswith(f"/{self.directory.name}/"), page.url)
        self.assertEqual(self.stored(), {"a.txt": b"one", "b.txt": bytes(3 * MIB)})
        page.set_input_files("#files", [self.file("a.txt", b"new")])
        page.get_by_role("button", name="Upload", exact=True).click()
        self.wait_for(page, "a.txt: it exists.")
        page.get_by_role("link", name="Back to the list").click()
        page.set_input_files("#files", [self.file("a.txt", b"new")])
        page.get_by_role("button", name="Upload and replace").click()
        wait_until(lambda: self.stored().get("a.txt") == b"new")

    def test_upload_page_of_another_site(self) -> None:
        """A page of another site can send neither a form nor a request that changes anything here."""
        (self.directory / "a.txt").write_bytes(b"old")
        page = self.look()
        target = f"http://localhost:{self.port}/in/{self.directory.name}/"
        page.evaluate(
            """async (target) => {
              const form = new FormData();
              form.append("file", new File(["evil"], "evil.txt"));
              await fetch(target, { method: "POST", body: form, mode: "no-cors" }).catch(() => {});
              await fetch(target + "a.txt", { method: "DELETE" }).catch(() => {});
            }""",
            target,
        )
        self.said = [one for one in self.said if "CORS" not in one and "Content Security Policy" not in one]
        other = self.context().new_page()
        other.set_content(
            f'<form method="post" enctype="multipart/form-data" action="{target}"><input type="file" '
            'name="file"><button>Go</button></form>'
        )
        other.set_input_files("input", self.file("evil.txt", b"evil"))
        other.get_by_role("button", name="Go").click()
        self.wait_for(other, "another site")
        self.assertEqual(self.stored(), {"a.txt": b"old"})

    def test_upload_page_of_a_bad_guest(self) -> None:
        """A page and a picture that somebody put there run no script when others open them."""
        (self.directory / "a.txt").write_bytes(b"old")
        script = "<script>document.documentElement.id = 'ran'; fetch('a.txt', { method: 'DELETE' })</script>"
        picture = f'<svg xmlns="http://www.w3.org/2000/svg">{script}</svg>'
        page = self.look()
        page.evaluate(DROP, [[["bad.html", f"<!doctype html><p>hello</p>{script}"], ["bad.svg", picture]]])
        for name in ("bad.html", "bad.svg"):
            page.locator("#list").get_by_role("link", name=name).wait_for()
        for name in ("bad.html", "bad.svg"):
            page.goto(f"http://127.0.0.1:{self.port}/in/{self.directory.name}/{name}")
            page.wait_for_load_state("networkidle")
            self.assertNotEqual(page.evaluate("document.documentElement.id"), "ran")
        self.assertEqual(len([one for one in self.said if "Content Security Policy" in one]), 2, self.said)
        self.said.clear()
        self.assertIn("a.txt", self.stored())

    def test_upload_page_with_a_password(self) -> None:
        """Who signed in uploads as himself; who may only upload sees no names, not his own either."""
        (self.place / "private/secret.txt").write_bytes(b"x")
        page = self.look(self.context(http_credentials={"username": "alice", "password": "secret"}))
        page.goto(f"http://127.0.0.1:{self.port}/private/")
        self.wait_for(page, "What is here is not shown.")
        page.set_input_files("#files", [self.file("a.txt", b"one"), self.file("secret.txt", b"two")])
        page.get_by_role("status").get_by_text("a.txt is uploaded.").wait_for()
        page.locator("#panel li", has_text="secret.txt").get_by_text("It exists.").wait_for()
        self.assertEqual(page.get_by_role("link", name="txt").count(), 0)
        self.assertEqual((self.place / "private/a.txt").read_bytes(), b"one")
        self.assertEqual((self.place / "private/secret.txt").read_bytes(), b"x")

    def test_upload_page_by_keyboard(self) -> None:
        """All of it can be reached with the keyboard, has a name, and what happens is told to a screen reader."""
        (self.directory / "a.txt").write_bytes(b"old")
        page = self.look()
        names = []
        for _ in range(16):
            page.keyboard.press("Tab")
            names.append(
                page.evaluate(
                    "document.activeElement.ariaLabel || document.activeElement.labels?.[0]?.innerText"
                    " || document.activeElement.innerText"
                )
            )
        for want in ("New folder", "a.txt", "Delete a.txt"):
            self.assertIn(want, names)
        self.assertTrue(any("Choose files" in (one or "") for one in names), names)
        page.set_input_files("#files", self.file("b.txt", b"one"))
        page.get_by_role("status").get_by_text("b.txt is uploaded.").wait_for()

    def test_upload_page_fits(self) -> None:
        """The page fits a phone and a desk, dark and light, empty and busy."""
        for width in (360, 390, 1280):
            for scheme in ("light", "dark"):
                context = self.browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
                context.set_default_timeout(PATIENCE)
                self.addCleanup(context.close)
                page = self.look(context)
                page.evaluate(DROP, [[["." + "long name " * 10, "x"], [f"{width}{scheme}.txt", "x"]]])
                page.locator("#list").get_by_role("link", name=f"{width}{scheme}.txt").wait_for()
                page.locator("#panel li.bad").wait_for()
                self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
