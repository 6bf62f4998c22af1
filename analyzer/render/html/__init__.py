"""The HTML report: one self-contained page about one capture."""
