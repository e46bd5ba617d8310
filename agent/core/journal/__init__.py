"""The journal's records, and how decisions are replayed from them."""
