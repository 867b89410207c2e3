"""The pure rules: schema, sessions, windows, splits, layout, settings, errors."""
