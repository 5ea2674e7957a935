"""Mail: smtp-source -> MTA -> smtp-sink."""
