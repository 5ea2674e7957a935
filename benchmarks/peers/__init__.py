"""The peers that are written in Python: as plain as their documentation shows them."""
