"""The ``netsvc`` command: one module a subcommand, imported only when used. Starts without Twisted."""
