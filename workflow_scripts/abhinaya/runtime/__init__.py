"""What every job needs and no other package knows of: files, errors, locks, signals, processes, devices.

Nothing here knows of speech, emotions or the configuration.
"""
