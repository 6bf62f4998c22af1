"""Known timeouts and heartbeat periods, shipped as data with their sources, and the lookup of a measured value."""
