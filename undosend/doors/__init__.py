"""Ways in. Doors translate; the outbox decides."""
