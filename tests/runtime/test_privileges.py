"""Dropping privileges, with a system of our own; and the state directory, with the real one."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from netsvc.errors import StartError
from netsvc.runtime.privileges import SYSTEM, System, check_state_directory, drop, identity

USERS = {"www": (33, 33), "ann": (1000, 1000)}
GROUPS = {"www": 33, "ann": 1000, "mail": 8}
MEMBERS = {"www": [33, 8], "ann": [1000]}


class Machine:
    """Ids as a kernel keeps them."""

    def __init__(self, uid: int = 0, gid: int = 0, groups: tuple[int, ...] = (0,)) -> None:
        self.uids = (uid,) * 3
        self.gids = (gid,) * 3
        self.groups = list(groups)
        self.calls: list[str] = []
        self.may_come_back = False
        self.lies = False

    def system(self) -> System:
        return System(
            getpwnam=lambda name: self.entry(name, *USERS[name]),
            getpwuid=lambda uid: (
                next(self.entry(name, *ids) for name, ids in USERS.items() if ids[0] == uid)
                if uid in {ids[0] for ids in USERS.values()}
                else USERS[str(uid)]
            ),
            getgrnam=lambda name: SimpleNamespace(gr_gid=GROUPS[name]),
            getgrouplist=lambda name, gid: [*MEMBERS[name], gid],
            getgroups=lambda: self.groups,
            setgroups=self.setgroups,
            getresuid=lambda: self.uids,
            getresgid=lambda: self.gids,
            setresuid=self.setresuid,
            setresgid=self.setresgid,
        )

    def entry(self, name: str, uid: int, gid: int) -> Any:
        return SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid)

    def ask(self, call: str) -> None:
        self.calls.append(call)
        if self.uids[1] != 0 and not self.may_come_back:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    def setgroups(self, groups: list[int]) -> None:
        self.ask("setgroups")
        if not self.lies:
            self.groups = groups

    def setresgid(self, *gids: int) -> None:
        self.ask("setresgid")
        self.gids = gids  # type: ignore[assignment]

    def setresuid(self, *uids: int) -> None:
        self.ask("setresuid")
        self.uids = uids  # type: ignore[assignment]


class DropTests(SynchronousTestCase):
    def refusal(self, machine: Machine, user: str | None, group: str | None) -> str:
        with self.assertRaises(StartError) as caught:
            drop(user, group, machine.system())
        return str(caught.exception)

    def test_nothing(self) -> None:
        """Without user and group nothing happens."""
        machine = Machine()
        drop(None, None, machine.system())
        self.assertEqual(machine.calls, [])

    def test_user(self) -> None:
        """Root becomes the user with all its groups: groups first, the user last, and tries to come back."""
        machine = Machine(groups=(0, 4, 27))
        drop("www", None, machine.system())
        self.assertEqual((machine.uids, machine.gids, machine.groups), ((33,) * 3, (33,) * 3, [8, 33]))
        self.assertEqual(machine.calls, ["setgroups", "setresgid", "setresuid", "setresuid"])

    def test_user_and_group(self) -> None:
        """A group that is given is the primary one; the user's others stay."""
        machine = Machine()
        drop("www", "mail", machine.system())
        self.assertEqual((machine.uids[0], machine.gids[0], machine.groups), (33, 8, [8, 33]))

    def test_numbers(self) -> None:
        """Numbers do as names do; a user without an entry needs a group."""
        machine = Machine()
        drop("33", None, machine.system())
        self.assertEqual((machine.uids[0], machine.gids[0], machine.groups), (33, 33, [8, 33]))
        machine = Machine()
        drop("4000", "5000", machine.system())
        self.assertEqual((machine.uids[0], machine.gids[0], machine.groups), (4000, 5000, [5000]))
        self.assertIn("set group as well", self.refusal(Machine(), "4000", None))

    def test_group_only(self) -> None:
        """With a group only, the user stays."""
        machine = Machine()
        drop(None, "mail", machine.system())
        self.assertEqual((machine.uids[0], machine.gids[0], machine.groups), (0, 8, [8]))

    def test_already(self) -> None:
        """Who is that user already needs no privileges."""
        machine = Machine(1000, 1000, (1000, 27))
        drop("ann", None, machine.system())
        drop("ann", "ann", machine.system())
        drop(None, "ann", machine.system())
        self.assertEqual(machine.calls, [])

    def test_root_stays_root(self) -> None:
        """Root that is to be root still gives up its other groups."""
        machine = Machine(groups=(0, 27))
        drop("0", "0", machine.system())
        self.assertEqual(machine.groups, [0])

    def test_not_root(self) -> None:
        """Another user cannot, and is told who can."""
        text = self.refusal(Machine(1000, 1000, (1000,)), "www", None)
        self.assertEqual(text, "cannot become user 'www': Operation not permitted (only root can)")

    def test_unknown(self) -> None:
        """A user or group that does not exist is named."""
        self.assertEqual(
            self.refusal(Machine(), "no\nbody", None), r"there is no user 'no\nbody'".replace("\\n", "\\n")
        )
        self.assertEqual(self.refusal(Machine(), "www", "nobody"), "there is no group 'nobody'")

    def test_way_back(self) -> None:
        """A process that could become root again does not go on."""
        machine = Machine()
        machine.may_come_back = True
        self.assertIn("could become root again", self.refusal(machine, "www", None))

    def test_lies(self) -> None:
        """A system that says done when it is not is not believed."""
        machine = Machine(groups=(0, 4))
        machine.lies = True
        self.assertIn("but it is not", self.refusal(machine, "www", None))

    def test_other_errors(self) -> None:
        """An error of the system is told in its words."""
        machine = Machine()
        machine.setgroups = lambda _: (_ for _ in ()).throw(OSError(errno.EINVAL, "Invalid argument"))  # type: ignore[method-assign, assignment]
        self.assertEqual(self.refusal(machine, None, "mail"), "cannot become group 'mail': Invalid argument")

    def test_real_system(self) -> None:
        """The real system knows root."""
        found = identity("root", None)
        assert found is not None
        self.assertEqual((found.uid, found.gid), (0, 0))
        self.assertIn(0, found.groups)
        self.assertIsNone(identity(None, None, SYSTEM))


class StateDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = Path(self.mktemp()).absolute()
        self.top.mkdir(parents=True)
        self.path = self.top / "a" / "b" / "state"
        self.addCleanup(os.umask, os.umask(0o022))
        self.chowned: list[tuple[int, int]] = []
        self.pretended_uid = os.geteuid()

    def pretend(self, uid: int) -> None:
        """Run as if the process had this effective user."""
        self.pretended_uid = uid
        real = os.fstat

        def fstat(descriptor: int) -> os.stat_result:
            found = list(real(descriptor))
            found[4] = self.chowned[-1][0] if self.chowned else uid
            return os.stat_result(found)

        self.patch(os, "geteuid", lambda: uid)
        self.patch(os, "fstat", fstat)
        self.patch(os, "fchown", lambda _, *ids: self.chowned.append(ids))

    def mode(self, path: Path | None = None) -> int:
        return stat.S_IMODE((path or self.path).stat().st_mode)

    def refusal(self, *who: str | None) -> str:
        with self.assertRaises(StartError) as caught:
            check_state_directory(self.path, *who, system=Machine().system())
        self.assertIn("cannot use the state directory", str(caught.exception))
        return str(caught.exception)

    def test_made(self) -> None:
        """A missing directory is made for its owner only, and so are the missing ones above; twice is once."""
        check_state_directory(self.path)
        check_state_directory(self.path)
        self.assertEqual((self.mode(), self.mode(self.path.parent)), (0o700, 0o700))

    def test_strange_umask(self) -> None:
        """The umask does not matter."""
        os.umask(0o777)
        self.pretend(1000)
        check_state_directory(self.path)
        self.assertEqual(self.mode(), 0o700)
        self.assertEqual(os.umask(0o022), 0o777)

    def test_for_another(self) -> None:
        """When privileges will drop, root gives the directory away; the ones above let that user through."""
        self.pretend(0)
        check_state_directory(self.path, "www", None, Machine().system())
        self.assertEqual(self.chowned, [(33, 33)])
        self.assertEqual((self.mode(), self.mode(self.path.parent)), (0o700, 0o755))

    def test_empty_is_made_right(self) -> None:
        """An empty directory that is open to others is closed."""
        self.path.mkdir(parents=True)
        self.path.chmod(0o777)
        check_state_directory(self.path)
        self.assertEqual(self.mode(), 0o700)

    def full(self, mode: int) -> None:
        self.path.mkdir(parents=True)
        (self.path / "file").write_text("x")
        self.path.chmod(mode)

    def test_own_is_closed(self) -> None:
        """A user's own directory that others can read is closed to them."""
        self.full(0o755)
        self.pretend(1000)
        check_state_directory(self.path)
        self.assertEqual(self.mode(), 0o700)

    def test_own_closed_one(self) -> None:
        """A directory in use, closed as it should be, is taken as it is, by root too."""
        self.full(0o700)
        check_state_directory(self.path)
        self.pretend(0)
        check_state_directory(self.path)

    def test_roots_open_one(self) -> None:
        """Root's own directory that others can read and that holds files is left alone: it may be /etc."""
        self.full(0o755)
        self.pretend(0)
        self.assertIn("open to others (mode 0755)", self.refusal())
        self.assertEqual(self.mode(), 0o755)

    def test_writable_by_others(self) -> None:
        """What others could write to is not trusted."""
        self.full(0o730)
        self.pretend(1000)
        self.assertIn("others can write there (mode 0730)", self.refusal())

    def test_shared(self) -> None:
        """A directory such as /tmp is never taken, not even an empty one."""
        self.path.mkdir(parents=True)
        self.path.chmod(0o1777)
        self.assertIn("shared by all users", self.refusal())
        self.assertEqual(self.mode(), 0o1777)

    def test_of_another(self) -> None:
        """Another user's directory is not taken: not a full one by root, no other one by a user."""
        self.full(0o700)
        self.pretend(0)
        self.assertIn("belongs to uid 0, not to 33, and is not empty", self.refusal("www"))
        self.pretend(1000)
        self.chowned.append((0, 0))
        self.assertIn("belongs to uid 0, not to 1000", self.refusal())
        (self.path / "file").unlink()
        self.assertTrue(self.refusal().endswith("belongs to uid 0, not to 1000"))

    def test_link(self) -> None:
        """A link of this user's or root's is followed, as systemd's DynamicUser needs; another user's is not."""
        real = self.top / "private"
        self.path.parent.mkdir(parents=True)
        self.path.symlink_to(real)
        check_state_directory(self.path)
        self.assertEqual(self.mode(real), 0o700)
        self.patch(Path, "lstat", lambda _: SimpleNamespace(st_uid=4711, st_mode=stat.S_IFLNK))
        self.assertIn("symbolic link of another user", self.refusal())

    def test_no_directory(self) -> None:
        """A file in its place is refused, and so is one above it."""
        self.path.parent.mkdir(parents=True)
        self.path.write_text("x")
        self.assertIn("File exists", self.refusal())
        self.path = self.path / "below"
        self.assertIn("Not a directory", self.refusal())

    def test_not_writable(self) -> None:
        """A directory that cannot be written to, as on a read-only file system, is refused."""
        self.patch(os, "access", lambda *_, **__: False)
        self.assertIn("it is not writable", self.refusal())
