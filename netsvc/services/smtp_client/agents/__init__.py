"""Delivery agents: processes of their own that make the attempts, and what the daemon says to them."""
