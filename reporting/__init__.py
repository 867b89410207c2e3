"""Drawing for readers: frames in, self-contained HTML and SVG out. No disk and no network."""
