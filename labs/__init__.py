"""Labs: whole clusters out of network namespaces."""
