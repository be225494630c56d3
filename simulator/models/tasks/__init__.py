"""Tasks for toy models: small synthetic ones, and real data that come with Python packages."""
