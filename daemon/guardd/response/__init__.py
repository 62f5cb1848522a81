"""Response: what guard does by itself about an incident. May be used by service and cli."""
