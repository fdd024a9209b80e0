"""How programs talk to an apiserver: kubeconfig, reflector, informer."""
