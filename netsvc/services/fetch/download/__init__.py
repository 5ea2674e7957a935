"""The download engine: one attempt to download one http(s) URL into the file store.

    downloader = Downloader(reactor, store, Terms(...), in_thread)
    done = await downloader.download(Wanted(url="https://...", names=("a", "b.iso")), on_progress)
    document = await downloader.read("https://.../feed.json", max_size=1 << 20)
    await downloader.close()

`download` fires with :class:`Done`, or fails with :class:`Transient` (another attempt may do; `.retry_after` is what
the peer asked for) or :class:`Permanent`; both are :class:`DownloadError` and have `.reason` (one line, fit for logs),
`.status` and `.resume` (id of the partial upload that was kept; the next attempt finds it by `names`, or by this id in
:attr:`Wanted.resume`). Attempts are the caller's: how many, how long between. Any number may be asked for at once: a
Downloader lets so many run as its terms say, host by host in turn, and they share connections and the rate limit.
Nothing is published unless it is whole and verified. Names, sizes and `Done.headers` are peer's text: clean them where
they are logged. :func:`clean_url` makes a URL fit for a log.
"""

from netsvc.services.fetch.download.downloader import Downloader
from netsvc.services.fetch.download.errors import DownloadError, Permanent, Transient
from netsvc.services.fetch.download.terms import Checksum, Document, Done, Progress, Terms, Validators, Wanted
from netsvc.services.fetch.download.wire.url import clean_url

__all__ = [
    "Checksum",
    "Document",
    "Done",
    "DownloadError",
    "Downloader",
    "Permanent",
    "Progress",
    "Terms",
    "Transient",
    "Validators",
    "Wanted",
    "clean_url",
]
