"""netsvc: one small daemon for the network services a machine needs beside its main job."""

__version__ = "0.1.0"
