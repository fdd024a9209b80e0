"""The service proxy: Services and EndpointSlices in, nftables out."""
