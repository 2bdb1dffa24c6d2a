"""Networks that need classes of their own, and torch: the builders of `roughfed.models` import them when asked."""
