"""Tests of netsvc; the folders mirror the package."""

import signal

# A shell that runs tests in the background has them ignore these, and every child inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
