"""Shows that the oldest versions which the extras allow work; ``python -m tools.extras`` says how."""
