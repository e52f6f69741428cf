"""Write a configuration for a folder of recordings or a table: the command `abhinaya init` without installing it."""

import sys

from abhinaya import commands

if __name__ == "__main__":
    sys.argv.insert(1, "init")
    commands.main()
