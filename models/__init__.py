"""Torch modules, losses and alignment: everything that a registered encoder needs to turn a photo into parameters.

The folder imports only itself (relatively) and libraries, and knows no files but those it is handed, so it can be
copied whole into a registered model under another package name.
"""
