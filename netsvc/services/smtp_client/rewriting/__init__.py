"""Rewriting of addresses for machines that own no domain: in the envelope and in header fields. No I/O but at start."""
