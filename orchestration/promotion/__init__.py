"""From a trained encoder to production: packing, registry, comparison, gate, and the moves of the aliases."""
