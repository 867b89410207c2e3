"""Deliveries in files."""
