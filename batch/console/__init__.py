"""What every command shares: options, progress, logs, exit codes."""
