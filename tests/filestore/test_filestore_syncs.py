"""What a power cut would leave: before each promise, all that it stands on has been synced, in the right order."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.filestore.kit import StoreCase
from tests.filestore.test_filestore_faults import CHILD, PATIENCE, PROJECT

CALLS = "pwrite64,pwritev,pwritev2,write,ftruncate,fchmod,fsetxattr,fsync,fdatasync,rename,renameat,renameat2"

_CALL = re.compile(r"(?:\d+ +)?(\w+)\((.*)\) += 0x[0-9a-f]+|(?:\d+ +)?(\w+)\((.*)\) += (\d+)")
_PATH = re.compile(r"<([^<>]*)>")
_TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')


class Disk:
    """What would be lost now: files whose octets or inode, and directories whose names are in memory only."""

    def __init__(self) -> None:
        self.octets: set[str] = set()
        self.inodes: set[str] = set()
        self.names: dict[str, set[str]] = {}  # directory -> names that were given or taken there

    def see(self, call: str, words: str) -> str | None:
        """One call; the promise that was made by it, if it is one."""
        paths, texts = _PATH.findall(words), _TEXT.findall(words)
        if call == "write" and words.startswith("1<"):
            return texts[0].removesuffix("\\n")
        if call.startswith("pwrite") or call in ("write", "ftruncate"):
            self.octets.add(paths[0])
        elif call in ("fchmod", "fsetxattr"):
            self.inodes.add(paths[0])
        elif call == "fdatasync":
            self.octets.discard(paths[0])
        elif call == "fsync":
            for lost in (self.octets, self.inodes):
                lost.discard(paths[0])
            self.names.pop(paths[0], None)
        elif call.startswith("rename"):
            directories = paths if call != "rename" else [str(Path(one).parent) for one in texts]
            old, new = (str(Path(where) / Path(name).name) for where, name in zip(directories, texts, strict=False))
            assert old not in self.octets | self.inodes, f"{old} is renamed before it is synced"
            self.names.setdefault(str(Path(new).parent), set()).add(Path(new).name)
        return None


class Cuts(StoreCase):
    def promises(self, door: str) -> list[str]:
        """What a process said that uploads; each was on the disk when it said so."""
        with tempfile.TemporaryDirectory(prefix="netsvc-strace-") as scratch:
            trace = Path(scratch) / "trace"
            command = [
                "strace",
                "-f",
                "-qq",
                "-y",
                "-s",
                "300",
                "-e",
                f"trace={CALLS}",
                "-e",
                "signal=none",
                "-o",
                str(trace),
            ]
            subprocess.run(
                [*command, sys.executable, str(CHILD), str(self.root), "2", "300000", door],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                check=True,
                timeout=PATIENCE,
                cwd=PROJECT,
            )
            disk, promises = Disk(), []
            for line in trace.read_text("utf-8", "replace").splitlines():
                found = _CALL.match(line)
                if found is None or (str(self.root) not in line and "write(1<" not in line):
                    continue
                promise = disk.see(found[1] or found[3], found[2] or found[4])
                if promise is not None:
                    promises.append(promise)
                    self.check(promise, disk)
        return [one.partition(" ")[0] for one in promises]

    def check(self, promise: str, disk: Disk) -> None:
        word, _, rest = promise.partition(" ")
        name = rest.partition(" ")[0]
        given = {one for names in disk.names.values() for one in names}
        lost = {Path(one).name for one in disk.octets | disk.inodes}
        if word == "acknowledged":
            self.assertNotIn(name, given, "its name is in memory only")
            self.assertNotIn(name, lost)
        elif word == "kept":
            self.assertEqual([one for one in lost if one.endswith((".part", ".json", ".new"))], [])
            self.assertEqual([one for one in given if one.endswith(".json")], [], "its record is in memory only")

    def test_published(self) -> None:
        """Octets, digest and name are synced before an upload is acknowledged, and the file before it has its name."""
        self.assertEqual(self.promises("whole"), ["begun", "acknowledged"] * 2 + ["end"])

    def test_kept(self) -> None:
        """Octets and record are synced before anybody is told where an upload stands."""
        self.assertEqual(self.promises("parts"), ["begun", "kept", "acknowledged"] * 2 + ["end"])
