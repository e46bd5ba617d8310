"""One file per outside thing; the prefix names its port. Adapters do not know one another."""
