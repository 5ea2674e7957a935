"""What every service is handed: listening, admission, life cycle, logs and metrics; one module each."""
