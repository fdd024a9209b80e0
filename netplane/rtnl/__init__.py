"""PURE: links, addresses, routes, neighbours and FDB entries as values."""
