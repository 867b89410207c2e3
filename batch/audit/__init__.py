"""Looking at a lake: verify, quality, status, vacuum."""
