"""Stage 6: the report (HTML, Markdown) and the paper's tables and figures with our and the published numbers."""
