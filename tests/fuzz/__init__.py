"""Hostile input, made in bulk: mutated captures, packets and conversations that must not break anything.

python -m tests.fuzz.run --inputs N --seed S [--entry NAME] [--checked]
"""
