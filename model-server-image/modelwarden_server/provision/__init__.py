"""What a server pod needs, kept by the store: files, environments, the plan, and the pods' reports."""
