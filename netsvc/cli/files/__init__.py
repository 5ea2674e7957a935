"""What get, put, ls and rm have in common: where to, what with, and one module for each way files move.

A way is a module with the functions of :class:`.ways.Way`. Nothing here knows Twisted; what blocks, blocks in a thread
of its own (:mod:`.crew`). What is fetched goes through the file store, so that a name stands for a whole file.
"""
