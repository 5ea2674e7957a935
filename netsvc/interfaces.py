"""What the parts of netsvc promise each other. Imports nothing of netsvc and nothing of Twisted."""

from __future__ import annotations

from zope.interface import Attribute, Interface

# zope's interfaces describe methods without self; the linters are told so in setup.cfg.


class IServiceKind(Interface):
    """A kind of service: see :class:`netsvc.kind.ServiceKind`."""

    word = Attribute("The section word in the INI file.")
    summary = Attribute("One line for people.")
    source = Attribute("Where its rules stand, such as 'RFC 862'.")
    runs = Attribute("'every-worker' or 'once'.")

    def load_settings():
        """Import and return the frozen attrs class of this kind's options."""

    def load_make_service():
        """Import and return the function (settings, runtime) -> IService."""


class IDatagramResponder(Interface):
    """The UDP side of a service: at most one answer to each request, decided at once.

    The runtime owns the socket, the guards, the rate limits and the cap on the answer's length.
    """

    greatest_answer = Attribute(
        "Octets that an answer may have even where its request is shorter; 0 for none, and so when absent. The runtime "
        "grants max(len(request), greatest_answer): 64 for time and daytime, whose requests are empty by their RFCs."
    )

    def answer(request, peer, limit):
        """Answer one datagram.

        :param request: the payload, bytes.
        :param peer: (host, port) of the sender.
        :param limit: the greatest length in octets that the answer may have.
        :return: the payload to send back, or None for silence.
        """


class ISeries(Interface):
    """One time series of a metric: all its labels are given. It has the metric's own methods, without labels."""


class ICounter(Interface):
    """One Prometheus counter."""

    def bind(**labels):
        """The ISeries with these labels, to keep where counting must be fast."""

    def inc(amount=1, **labels):
        """Add to it."""


class IGauge(Interface):
    """One Prometheus gauge."""

    def bind(**labels):
        """As ICounter."""

    def set(value, **labels):
        """Replace its value."""

    def inc(amount=1, **labels):
        """Add to it."""

    def remove(**labels):
        """Forget one series: what it was about is no more."""


class IHistogram(Interface):
    """One Prometheus histogram."""

    def bind(**labels):
        """As ICounter."""

    def observe(value, **labels):
        """Record one value, in the unit that its name ends with."""


class IMetrics(Interface):
    """The daemon's registry. Asking twice for one name gives the same object."""

    def counter(name, help, labels=()):
        """An ICounter. The name has no prefix and no _total."""

    def gauge(name, help, labels=()):
        """An IGauge."""

    def histogram(name, help, labels=(), buckets=None):
        """An IHistogram."""


class ITextMessages(Interface):
    """What a text message service does for a mail service: keeps a message that goes if a mail is not delivered."""

    def check(to, text):
        """Whether such a message can be kept.

        :param to: telephone numbers.
        :raises netsvc.errors.NotTakenError: it cannot.
        """

    def keep(mail, to, text, not_before, submitter):
        """Keep a message for a mail; keeping another for the same mail is keeping one. A Deferred of its queue id.

        :param mail: section and queue id of the mail, with a space between them.
        :param not_before: when it goes if the mail is not delivered by then; wall clock, seconds.
        :raises netsvc.errors.NotTakenError: (as a failure) it was not kept.
        """

    def news(mail):
        """Something has become of a mail that perhaps a message was kept for: look at it now."""


class IMailFates(Interface):
    """What a mail service tells a text message service."""

    def fate(queue_id):
        """What became of a mail.

        :return: a Deferred of ``delivered`` (to all, or taken out of the queue by an operator), ``waiting``, ``failed``
            (for one at least, or nobody knows), or ``unknown``: it is not in the queue.
        """


class IRuntime(Interface):
    """What every service is handed. It is made for one section: its listeners, limits and logs are its own."""

    reactor = Attribute("The reactor: also the clock (IReactorTime).")
    streams = Attribute("Where descriptors are watched at less cost, as an IReactorFDSet and IReactorTime: a Lane.")
    name = Attribute("The section: 'echo', or 'filetransfer:inbox'.")
    metrics = Attribute("An IMetrics.")
    state_directory = Attribute("pathlib.Path of the daemon's state, made with mode 0700 before services start.")

    def serve(settings, stream=None, datagram=None):
        """Make the service that listens where ``settings.listen`` says, with its admission and time limits.

        The service binds in privilegedStartService, accepts from startService on, and drains in stopService.

        :param settings: a :class:`netsvc.config.server.ServerSettings`.
        :param stream: an IProtocolFactory for TCP, TLS and UNIX listeners.
        :param datagram: an IDatagramResponder for UDP listeners.
        :return: an IService.
        """

    def start_tls(place):
        """Make the service that begins TLS in the middle of a conversation, as STARTTLS does.

        It reads the certificates in privilegedStartService, and keeps them as their files have them while it runs.

        :param place: where the certificates are, a :class:`netsvc.config.tls.Tls` or ``TlsDirectory``.
        :return: an IService with ``begin(transport)``.
        """

    def offer(thing):
        """Let the other sections of this daemon have something, such as an ITextMessages, under this section's name."""

    def offered(name):
        """What a section offers, or None: there is no such section in this daemon, or it offers nothing."""

    def in_thread(function, *args, **kwargs):
        """Run blocking work in the daemon's thread pool; a Deferred of its result."""

    def in_disk_thread(function, *args, **kwargs):
        """As in_thread, for what may wait for the disk long, such as a sync: it holds up nothing else."""
