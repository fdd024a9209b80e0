"""What a request does to objects: reads, writes, deletions, watches and the subresources."""
