"""Objects in etcd v3: the store for several apiservers at once."""
