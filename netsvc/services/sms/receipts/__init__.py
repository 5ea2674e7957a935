"""What the gateway tells later: whether a message that it took was delivered. It calls us, or is asked."""
