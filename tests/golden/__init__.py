"""Expected answers for a fixed history, and the script that writes them again."""
