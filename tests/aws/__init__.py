"""The pipeline on AWS."""
