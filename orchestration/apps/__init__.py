"""What the commands do beside the pipeline: a character from a photo, exports, ablations, services."""
