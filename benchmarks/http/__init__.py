"""HTTP and CGI beside their peers: the same shape as the package around it."""
