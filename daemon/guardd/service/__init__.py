"""The daemon's life: start, threads, supervision, stop. What it does it asks of watching, capture and store."""
