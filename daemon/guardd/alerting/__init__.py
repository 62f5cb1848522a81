"""Alerts: what is to be said (pure), the outbox, and the targets that it goes to, one file each."""
