"""Evaluation: scores, intervals, and a module for each section of the scorecard, named as its JSON key."""
