"""Kills a daemon that takes files at many of its system calls, starts it again, and looks what is published."""
