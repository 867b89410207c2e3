"""Contenders: each a module that reads a lake's daily bars and writes N-session bars."""
