"""`python -m analyzer` is `longwire`."""

from analyzer.cli.main import run

if __name__ == "__main__":
    run()
