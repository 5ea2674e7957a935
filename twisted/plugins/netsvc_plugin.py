"""Tells twistd that there is ``twistd netsvc``. Imports no more than that needs: no reactor."""

from twisted.application.service import ServiceMaker

netsvc = ServiceMaker("netsvc", "netsvc.tap", "The network services of a machine, from one INI file.", "netsvc")
