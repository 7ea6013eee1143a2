"""What stands behind `headrace sql`: a prompt for statements and queries.

Read in this order: `statements` (where one ends), `session` (running them), `vocabulary` (what can
be completed), `prompt` (the terminal).
"""
