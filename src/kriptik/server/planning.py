"""The one place where the server calls the planner: request → contract and plan → job."""
