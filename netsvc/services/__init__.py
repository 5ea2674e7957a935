"""The kinds of service that come with netsvc, one folder each."""
