"""What a URL means, and what answers there."""
