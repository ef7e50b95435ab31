"""Label Studio: a project is the target, its tasks are the items, their annotations the answers."""
