"""SMTP for the programs of this machine and its neighbours: the submission listener."""
