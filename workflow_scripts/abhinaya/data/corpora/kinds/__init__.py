"""The corpora: one module for each `kind`, with its configuration and its reader."""
