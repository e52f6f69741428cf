"""Hypothesis draws the same examples on every machine, and a slow machine fails no test; no preflight unasked."""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
os.environ.setdefault("ABHINAYA_PREFLIGHT", "off")  # for runs on a private cluster; its own tests ask for it
