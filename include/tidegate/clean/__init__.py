"""Cleaning: small typed steps with pandas. A YAML block is a call: its key names the step."""
