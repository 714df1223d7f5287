"""How much is learned of how to ask again, on a real small model whose replies are recorded."""
