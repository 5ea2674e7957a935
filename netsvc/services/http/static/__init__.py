"""Files: which form of one a peer gets, whole or in parts, from memory or from the kernel."""
