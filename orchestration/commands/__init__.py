"""The commands of `likeness` that orchestration/cli.py does not hold itself, a module for each subject."""
