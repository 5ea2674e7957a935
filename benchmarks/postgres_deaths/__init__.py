"""Kills one of two runners on a queue in PostgreSQL at many of its system calls, and compares what is owed and done."""
