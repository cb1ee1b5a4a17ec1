"""The next hop: a port, and the pool of SMTP connections behind it."""
