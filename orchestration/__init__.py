"""The pipeline as a whole: command line, local runs, AWS."""
