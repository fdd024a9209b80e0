"""PURE: nftables as values: objects, transactions, netlink elements, diff, trace."""
