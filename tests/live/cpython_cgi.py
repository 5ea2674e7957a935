"""Runs CPython's own tests of http.server's CGI against another server. Imports nothing of netsvc: any CPython runs it.

    python cpython_cgi.py PORT DOCROOT

The docroot may be removed and made anew meanwhile. Prints one line: how many ran, and each that was skipped or failed.
"""

import os
import shutil
import sys
import tempfile
import unittest
import warnings
from http import HTTPStatus
from unittest import mock

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from test import test_httpservers

PORT, DOCROOT = int(sys.argv[1]), sys.argv[2]


class Elsewhere:
    """Stands for the thread that a test starts its server in."""

    def __init__(self, test_object, request_handler):
        test_object.HOST, test_object.PORT = "127.0.0.1", PORT
        self.test_object = test_object

    def start(self):
        self.test_object.server_started.set()

    def stop(self):
        self.test_object.connection.close()


def same_place():
    """The docroot, empty."""
    shutil.rmtree(DOCROOT, ignore_errors=True)
    os.mkdir(DOCROOT)
    return DOCROOT


class NetsvcTest(test_httpservers.CGIHTTPServerTestCase):
    """Their cases, and our answer to the two that want what is refused on purpose."""

    __unittest_skip__ = False  # they cannot run as root because http.server becomes nobody then

    def setUp(self):
        self.connection = mock.Mock()
        with (
            mock.patch.object(test_httpservers, "TestServerThread", Elsewhere),
            mock.patch.object(tempfile, "mkdtemp", same_place),
        ):
            super().setUp()

    def test_no_leading_slash(self):
        """A target that does not begin with a slash is no path (RFC 9112, 3.2.1): 400."""
        self.assertEqual(self.request("cgi-bin/file1.py").status, HTTPStatus.BAD_REQUEST)

    def test_urlquote_decoding_in_cgi_check(self):
        """An encoded slash is no slash (RFC 3986, 2.2): 404, and neither the script's answer nor its source."""
        found = self.request("/cgi-bin%2ffile1.py")
        self.assertEqual(found.status, HTTPStatus.NOT_FOUND)
        self.assertNotIn(b"Hello", found.read())


if __name__ == "__main__":
    outcome = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(NetsvcTest).run(outcome)
    print("ran", outcome.testsRun)
    for word, found in (("skipped", outcome.skipped), ("failed", outcome.failures), ("failed", outcome.errors)):
        for test, why in found:
            print(word, test.id().rpartition(".")[2], why)
