"""The planner: what a study takes before it runs."""
