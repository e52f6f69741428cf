"""Hypothesis draws the same examples on every machine, and a slow machine fails no test."""

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
