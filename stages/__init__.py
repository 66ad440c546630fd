"""The pipeline's stages, one file each: plain functions from folders to a folder, which know no orchestrator."""
