"""What protocols call on their transports: write at once, send files from the kernel, answer half-closed peers."""
