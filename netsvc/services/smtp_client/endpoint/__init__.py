"""HTTP for programs that speak it: a message by one POST."""
