"""Delivery agents."""
