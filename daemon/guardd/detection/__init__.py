"""Detection: changes judged by rules and evidence, bursts of them made into incidents.

It reads the store only, from a cursor in the log; it never writes to a repo and never makes capture wait. May be used by
response, service and cli.
"""
