"""What objects go through on their way in: strategies, defaults, allocation, injection."""
