"""One apiserver process: flags, files, keys, sockets, start and end."""
