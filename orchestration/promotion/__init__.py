"""From a trained encoder to production: packing, comparison with what is there, promotion, and who hears of it."""
