"""From daily bars to N-session bars."""
