"""Settings, profiles, the catalog of stages, and what everything else stands on. It imports no other room."""
