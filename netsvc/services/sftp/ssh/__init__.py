"""SSH as a server of files needs it: conch's key exchange, and packets, logins and channels of our own."""
