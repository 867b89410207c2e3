"""Looking for bars that keep every row rule and still are not what they seem."""
