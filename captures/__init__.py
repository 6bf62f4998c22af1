"""Sample captures of real programs, and the scripts that make them."""
