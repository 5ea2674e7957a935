"""Twisted resources, Klein and WSGI applications among them, behind netsvc's own HTTP."""
