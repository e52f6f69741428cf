"""Files, errors, locks, signals, processes and devices.

The lowest package: it does not depend on speech, emotions or the configuration.
"""
