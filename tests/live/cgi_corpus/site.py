"""Lays the corpus out on disk, and tells afterwards what lies there."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from tests.live.cgi_corpus.case import HEAD, Case, Link

TIME = 1_700_000_000  # when everything was written, in seconds since 1970; an edit comes later
WANTED = ("3.11", "3.12", "3.13")
PYC_HEADER = 16  # octets (PEP 552); the marshalled code behind it depends on reference counts and on the hash seed


@frozen
class Python:
    """An interpreter that scripts are run by.

    :param version: "3.12".
    :param program: its absolute name.
    """

    version: str
    program: str


def pythons() -> tuple[Python, ...]:
    """The interpreters of this machine: those of pyenv, else the one that runs the tests."""
    found = []
    for version in WANTED:
        for program in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")):
            if subprocess.run([program, "-c", ""], capture_output=True).returncode == 0:
                found.append(Python(version, str(program)))
                break
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return tuple(found) or (Python(base.name.removeprefix("python"), str(base)),)


class Site:
    """A document root with every case for every interpreter.

    :param place: an absolute directory; its `www` is the document root.
    """

    def __init__(self, place: Path, cases: Sequence[Case], interpreters: Sequence[Python]) -> None:
        self.place = place
        self._cases = cases
        self._interpreters = interpreters

    def lay_out(self) -> None:
        """Make everything anew."""
        shutil.rmtree(self.place, ignore_errors=True)
        self._write("www/file.txt", b"a file")
        self._write("modules/on_path.py", b"")
        self._write("modules/startup.py", b"print('started up')\n")
        self._write("no-ctypes/sitecustomize.py", b"import sys\nsys.modules['_ctypes'] = None\n")
        for python in self._interpreters:
            self._virtual_environments(python)
            self._write(
                f"user/lib/python{python.version}/site-packages/usercustomize.py",
                b"import sys\nsys.from_usercustomize = True\n",
            )
            for case in self._cases:
                self._case(case, python)

    def edit(self, case: Case, python: Python) -> None:
        """Write the edits of a case."""
        for name, content in case.edits.items():
            file = self._directory(case, python) / (self._filled(name, python) or case.filename)
            text = content if name else self._whole(case, python, content)
            self._write(file, text if isinstance(text, bytes) else text.encode(), TIME + 60)

    def script_name(self, case: Case, python: Python) -> str:
        """The path of a case's script, decoded."""
        return f"/{python.version}/cgi-bin/{case.name}/{case.filename}"

    def left_by(self, case: Case, python: Python) -> dict[str, tuple[str, bytes]]:
        """What lies in a case's directory: by name the kind and mode, and the content."""
        return snapshot(self._directory(case, python))

    def left_elsewhere(self) -> dict[str, tuple[str, bytes]]:
        """What lies beside the document root."""
        return {name: one for name, one in snapshot(self.place).items() if not name.startswith(("www/", "state"))}

    def _directory(self, case: Case, python: Python) -> Path:
        return self.place / "www" / python.version / "cgi-bin" / case.name

    def _filled(self, text: str, python: Python) -> str:
        venv = str(self.place / f"venv-{python.version}")
        for name, value in (("{python}", python.program), ("{version}", python.version), ("{venv}", venv)):
            text = text.replace(name, value)
        return text

    def _whole(self, case: Case, python: Python, script: str | bytes) -> bytes:
        if isinstance(script, bytes):
            return script.replace(b"{python}", python.program.encode()) if case.fill else script
        head = HEAD if case.head else ""
        return f"{self._filled(case.shebang, python)}\n{head}{script}".encode()

    def _case(self, case: Case, python: Python) -> None:
        directory = self._directory(case, python)
        for name, content in case.files.items():
            if isinstance(content, Link):
                (directory / name).symlink_to(content.target)
            elif isinstance(content, bytes):
                self._write(directory / name, content)
            else:
                text = self._filled(content, python) if case.fill else content
                self._write(directory / name, text.encode(), mode=0o755 if text.startswith("#!") else 0o644)
        script = directory / case.filename
        script.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(case.script, Link):
            script.symlink_to(case.script.target)
        else:
            self._write(script, self._whole(case, python, case.script), mode=0o755)

    def _write(self, file: Path | str, content: bytes, when: int = TIME, mode: int = 0) -> None:
        path = self.place / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        if mode:
            path.chmod(mode)
        os.utime(path, (when, when))

    def _virtual_environments(self, python: Python) -> None:
        """Two, as `python -m venv` makes them."""
        for suffix in ("", "-2"):
            root = f"venv-{python.version}{suffix}"
            library = f"{root}/lib/python{python.version}/site-packages"
            home = Path(python.program).parent
            self._write(f"{root}/pyvenv.cfg", f"home = {home}\ninclude-system-site-packages = false\n".encode())
            (self.place / root / "bin").mkdir()
            (self.place / root / "bin" / "python").symlink_to(python.program)
            self._write(f"{library}/in_venv.py", b"value = 'first'\n")
            self._write(f"{library}/sitecustomize.py", b"import sys\nsys.from_sitecustomize = True\n")
            self._write(f"{library}/extra.pth", b"../../../more\n")
            self._write(f"{root}/more/by_pth.py", b"")


def snapshot(directory: Path) -> dict[str, tuple[str, bytes]]:
    """Everything beneath a directory: by relative name the kind and mode, and the content or the link's target."""
    found: dict[str, tuple[str, bytes]] = {}
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = os.path.join(parent, name)
            status = os.lstat(path)
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.fsencode(os.readlink(path))
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as stream:
                    content = stream.read(PYC_HEADER if name.endswith(".pyc") else -1)
            kept = os.path.relpath(path, directory)
            found[kept] = (stat.filemode(status.st_mode), content)
    return found
