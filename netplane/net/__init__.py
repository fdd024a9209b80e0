"""PURE: CIDR arithmetic, allocation bitmaps, interface names, netlink bytes."""
