"""What every job runs on: settings, console, progress, run reports, shards."""
