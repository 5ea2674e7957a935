"""What requests other than READ and WRITE do: each takes its fields, and gives its answer or a Deferred of it.

The session calls them one after the other, so that what happens to one file happens in the order of the requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, inlineCallbacks

from netsvc.filestore.entry import Entry
from netsvc.filestore.errors import NotPermittedError
from netsvc.services.sftp import wire
from netsvc.services.sftp.account import Account
from netsvc.services.sftp.door import Door, Names, copy_piece, names_of, real_path
from netsvc.services.sftp.listing import Directory, attributes
from netsvc.services.sftp.openings import Answer, Open, Openings
from netsvc.services.sftp.reads import Reader
from netsvc.services.sftp.refusals import RefusedError, UnsupportedError
from netsvc.services.sftp.wire import Fields, Status, Type
from netsvc.services.sftp.writes import Writer

if TYPE_CHECKING:
    from netsvc.filestore.store import FileStore

EXTENSIONS = (
    ("posix-rename@openssh.com", b"1"),
    ("statvfs@openssh.com", b"2"),
    ("fstatvfs@openssh.com", b"2"),
    ("fsync@openssh.com", b"1"),
    ("limits@openssh.com", b"1"),
    ("expand-path@openssh.com", b"1"),
    ("home-directory", b"1"),
    ("copy-data", b"1"),
    (wire.PUBLISH_AT_CLOSE, b"1"),
)

# These ask for what is there: what nobody may name is not there. (OPEN may be such a one, too: see `looks_up`.)
_LOOKUPS = frozenset(
    {Type.LSTAT, Type.STAT, Type.OPENDIR, Type.REMOVE, Type.RMDIR, Type.READLINK, Type.SETSTAT, Type.REALPATH}
)

_NO_SUID = 2  # ST_NOSUID of statvfs@openssh.com


class Operations:
    """The operations of one session, and what it has open.

    :param in_thread: runs blocking work: (function, *arguments) -> Deferred.
    :param ready: called when a READ or a WRITE that had to wait should be tried again.
    :param max_handles: files and directories that may be open at once.
    """

    def __init__(
        self,
        store: FileStore,
        account: Account,
        in_thread: Callable[..., Deferred[Any]],
        ready: Callable[[], None],
        *,
        max_handles: int,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._door = Door(store, account.owner, wall_clock)
        self._in_thread = in_thread
        self._max_handles = max_handles
        self._openings = Openings(self._door, account, in_thread, ready, max_handles=max_handles)
        self.handles = self._openings.handles
        self.end = self._openings.end
        self._by_type: dict[int, Callable[[int, Fields], Answer]] = {
            Type.OPEN: self._openings.open,
            Type.CLOSE: self._openings.close,
            Type.LSTAT: self._stat,
            Type.STAT: self._stat,
            Type.FSTAT: self._fstat,
            Type.SETSTAT: self._setstat,
            Type.FSETSTAT: self._fsetstat,
            Type.OPENDIR: self._openings.open_directory,
            Type.READDIR: self._readdir,
            Type.REMOVE: self._remove,
            Type.MKDIR: self._mkdir,
            Type.RMDIR: self._rmdir,
            Type.REALPATH: self._realpath,
            Type.RENAME: self._rename,
            Type.READLINK: self._readlink,
            Type.SYMLINK: self._unsupported,
            Type.EXTENDED: self._extended,
        }
        self._extensions: dict[bytes, Callable[[int, Fields], Answer]] = {
            b"posix-rename@openssh.com": self._posix_rename,
            b"statvfs@openssh.com": self._statvfs,
            b"fstatvfs@openssh.com": self._fstatvfs,
            b"fsync@openssh.com": self._fsync,
            b"limits@openssh.com": self._limits,
            b"expand-path@openssh.com": self._expand_path,
            b"home-directory": self._home,
            b"copy-data": self._copy_data,
        }

    def perform(self, kind: int, request: int, packet: memoryview) -> Answer:
        """Do what a packet asks for.

        :raises Exception: one that :func:`.refusals.status_of` knows; the Deferred may fail likewise.
        """
        return self._by_type.get(kind, self._unsupported)(request, Fields(packet))

    @staticmethod
    def looks_up(kind: int, packet: memoryview) -> bool:
        """Whether something that exists is asked for."""
        if kind != Type.OPEN:
            return kind in _LOOKUPS
        fields = Fields(packet)
        fields.string()
        return not fields.u32() & wire.CREATE

    def named(self, packet: memoryview) -> str:
        """What a request is about, for the log: the path in it, or that of its handle."""
        fields = Fields(packet)
        word = fields.string()
        if packet[0] == Type.EXTENDED:
            word = fields.string()
        one = self.handles.get(word)
        if one is None:
            return word.decode("utf-8", "backslashreplace")
        return "/".join(one.file.names if isinstance(one, Reader) else one.names)

    # -- attributes

    def _stat(self, request: int, fields: Fields) -> Answer:
        names = names_of(fields.string())
        writer = self._openings.written(names)
        if writer is not None:
            return self._attrs(self._door.growing(names, writer.length, writer.modified), request)
        return self._in_thread(self._door.look, names).addCallback(self._attrs, request)

    def _fstat(self, request: int, fields: Fields) -> Answer:
        match self._get(fields):
            case Reader(file=file):
                return self._attrs(Entry(file.names[-1], False, file.size, file.modified_ns), request)
            case Writer() as writer:
                return self._attrs(self._door.growing(writer.names, writer.length, writer.modified), request)
            case directory:
                return self._in_thread(self._store.stat, directory.names).addCallback(self._attrs, request)

    @staticmethod
    def _attrs(entry: Entry, request: int) -> bytes:
        return wire.attrs(request, attributes(entry))

    def _setstat(self, request: int, fields: Fields) -> Answer:
        names, wanted = names_of(fields.string()), fields.attributes()
        _refuse_owner(wanted)
        writer = self._openings.written(names)
        if writer is not None:
            return self._set_written(writer, wanted, request)
        return self._in_thread(self._door.set_attributes, names, wanted).addCallback(lambda _: wire.ok(request))

    def _fsetstat(self, request: int, fields: Fields) -> Answer:
        one, wanted = self._get(fields), fields.attributes()
        _refuse_owner(wanted)
        if isinstance(one, Writer):
            return self._set_written(one, wanted, request)
        if wanted.size is not None:
            raise RefusedError("it is not open for writing")
        if wanted.modified is None:
            return wire.ok(request)
        names = one.names if isinstance(one, Directory) else one.file.names
        return self._in_thread(self._store.set_modified, names, wanted.modified).addCallback(lambda _: wire.ok(request))

    def _set_written(self, writer: Writer, wanted: wire.Attributes, request: int) -> Answer:
        if wanted.modified is not None:
            writer.modified = wanted.modified
        size = wanted.size
        if size is None:
            return wire.ok(request)
        return writer.in_turn(writer.truncate, size).addCallback(lambda _: wire.ok(request))

    def _get(self, fields: Fields) -> Open:
        return self._openings.get(fields.string())

    # -- directories and names

    def _readdir(self, request: int, fields: Fields) -> Answer:
        directory = self._get(fields)
        if not isinstance(directory, Directory):
            raise RefusedError("it is not a directory")
        block = directory.ready()
        if block is not None:
            return wire.names(request, *block)
        return self._in_thread(directory.read).addCallback(_block, request)

    def _remove(self, request: int, fields: Fields) -> Answer:
        return self._done(request, self._door.remove, names_of(fields.string()))

    def _mkdir(self, request: int, fields: Fields) -> Answer:
        names = names_of(fields.string())
        fields.attributes()
        return self._done(request, self._store.make_directory, names)

    def _rmdir(self, request: int, fields: Fields) -> Answer:
        return self._done(request, self._store.remove_directory, names_of(fields.string()))

    def _rename(self, request: int, fields: Fields) -> Answer:
        return self._done(request, self._store.rename, names_of(fields.string()), names_of(fields.string()))

    def _posix_rename(self, request: int, fields: Fields) -> Answer:
        old, new = names_of(fields.string()), names_of(fields.string())
        return self._done(request, lambda: self._store.rename(old, new, replace=True))

    def _done(self, request: int, function: Callable[..., Any], *arguments: Any) -> Answer:
        return self._in_thread(function, *arguments).addCallback(lambda _: wire.ok(request))

    def _realpath(self, request: int, fields: Fields) -> Answer:
        return _one_name(request, real_path(fields.string()))

    def _expand_path(self, request: int, fields: Fields) -> Answer:
        path = fields.string()
        if path == b"~" or path.startswith(b"~/"):
            path = path[1:]
        return _one_name(request, real_path(path))

    def _home(self, request: int, fields: Fields) -> Answer:
        fields.string()  # whose home: everybody's is the root
        return _one_name(request, b"/")

    def _readlink(self, _: int, fields: Fields) -> Answer:
        """Links are shown as what they lead to, so whatever is there is none."""
        return self._in_thread(self._door.look, names_of(fields.string())).addCallback(_no_link)

    def _unsupported(self, _: int, __: Fields) -> Answer:
        raise UnsupportedError("not supported")

    # -- extensions

    def _extended(self, request: int, fields: Fields) -> Answer:
        return self._extensions.get(fields.string(), self._unsupported)(request, fields)

    def _limits(self, request: int, _: Fields) -> Answer:
        return wire.extended_reply(request, wire.MAX_PACKET, wire.MAX_SPAN, wire.MAX_SPAN, self._max_handles)

    def _statvfs(self, request: int, fields: Fields) -> Answer:
        return self._in_thread(self._space, names_of(fields.string()), request)

    def _fstatvfs(self, request: int, fields: Fields) -> Answer:
        self._get(fields)
        return self._in_thread(self._space, (), request)

    def _space(self, names: Names, request: int) -> bytes:
        """In a thread: all that is below the root shares one room."""
        self._door.look(names)
        space = self._store.space()
        size, blocks, free, available = space.block_size, space.blocks, space.free, space.available
        inodes = (space.files, space.files_free, space.files_free)
        return wire.extended_reply(request, size, size, blocks, free, available, *inodes, 0, _NO_SUID, 255)

    def _fsync(self, request: int, fields: Fields) -> Answer:
        one = self._get(fields)
        if not isinstance(one, Writer):
            return wire.ok(request)
        return one.in_turn(self._sync, one).addCallback(lambda _: wire.ok(request))

    @staticmethod
    def _sync(writer: Writer) -> None:
        writer.check()
        writer.upload.sync()

    def _copy_data(self, request: int, fields: Fields) -> Answer:
        source, offset, length = self._get(fields), fields.u64(), fields.u64()
        target, at = self._get(fields), fields.u64()
        if not isinstance(target, Writer) or isinstance(source, Directory) or source is target:
            raise RefusedError("one file must be open for reading, and another one for writing")
        return self._copy(source, offset, length or wire.MAX_OFFSET, target, at).addCallback(lambda _: wire.ok(request))

    @inlineCallbacks
    def _copy(self, source: Reader | Writer, offset: int, length: int, target: Writer, at: int) -> Any:
        """One piece after the other, so that a long file leaves threads for others."""
        what = source.upload if isinstance(source, Writer) else source.file

        def piece(offset: int, length: int, at: int) -> int:
            target.check()
            target.changed = True
            try:
                return copy_piece(what, offset, length, target.upload, at)
            finally:
                target.length = max(target.length, target.upload.length)

        if isinstance(source, Writer):
            yield source.in_turn(source.check)
        else:
            source.lend()
        try:
            while length and not self._openings.over:
                copied = yield target.in_turn(piece, offset, length, at)
                if not copied:
                    break
                offset, length, at = offset + copied, length - copied, at + copied
        finally:
            if isinstance(source, Reader):
                source.give_back()


def _refuse_owner(wanted: wire.Attributes) -> None:
    """An order to change the owner is refused; owners that come along with other things are not kept.

    :raises NotPermittedError: an owner is all that is wanted.
    """
    if wanted.owner and wanted.size is None and wanted.modified is None and not wanted.permissions:
        raise NotPermittedError("owners of files cannot be set")


def _block(block: tuple[int, bytes] | None, request: int) -> bytes:
    return wire.status(request, Status.EOF, "end of directory") if block is None else wire.names(request, *block)


def _one_name(request: int, path: bytes) -> bytes:
    return wire.names(request, 1, wire.name_entry(path, path, wire.NO_ATTRIBUTES))


def _no_link(_: Entry) -> bytes:
    raise RefusedError("not a symbolic link")
