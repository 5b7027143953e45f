"""Pictures that generators paint: how like real ones they are, and how they are kept in a folder."""
