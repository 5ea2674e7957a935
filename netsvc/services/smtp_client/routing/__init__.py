"""Where mail goes: from a recipient's domain and a sender to the hosts to try, and the TLS that each must have."""
