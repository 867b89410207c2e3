"""An independent recomputation of every table of the lake."""
