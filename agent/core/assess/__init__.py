"""Assessment of a snapshot: which tasks live, what is proven, why one failed, how many lanes."""
