"""What is done about a failure: classified, looked up in a policy, and turned into an action."""
