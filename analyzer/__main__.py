"""`python -m analyzer` is `longwire`."""

from analyzer.cli.start import run

if __name__ == "__main__":
    run()
