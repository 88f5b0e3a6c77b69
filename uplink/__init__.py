"""The platform's side: case store with outbox, sender, transports and the reference platform."""
