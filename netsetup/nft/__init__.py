"""Our nftables tables: their rules, loading and reading them."""
