"""Who may log in: users, their keys and passwords."""
