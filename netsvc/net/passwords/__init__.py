"""Passwords of users: the htpasswd file, and checks that are slow by design."""
