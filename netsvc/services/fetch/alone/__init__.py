"""Downloads without a daemon, for ``netsvc fetch URL...``: the same engine, the same rule for another try."""
