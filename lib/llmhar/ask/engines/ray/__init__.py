"""Engine ray: replicas of our own engines on more than one machine."""
