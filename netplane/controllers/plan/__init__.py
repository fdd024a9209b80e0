"""What each controller decides, pure: the world and a key in, writes out. No I/O, no clock, no dice."""
