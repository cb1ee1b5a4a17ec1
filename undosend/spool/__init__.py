"""The durable store: a port, and the adapters that keep its promises."""
