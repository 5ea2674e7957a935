"""Kills a whole mail daemon at many of its system calls, starts it again, and compares what it owes with what came."""
