"""Webhooks: each event told to whoever asked for it, signed, at least once."""
