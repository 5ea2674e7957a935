"""The program of the fork servers. Nothing of it is imported: stages.py is run, and reads the others."""
