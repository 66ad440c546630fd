"""The servers of the platform: PostgreSQL, and those that `likeness start` keeps running."""
