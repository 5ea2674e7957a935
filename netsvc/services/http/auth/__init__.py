"""Who may see what: passwords of htpasswd files."""
