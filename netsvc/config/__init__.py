"""INI text to typed, frozen settings. No Twisted here: ``netsvc check`` must start at once."""
