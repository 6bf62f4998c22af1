"""The command line: commands parse arguments, call the API and print."""
