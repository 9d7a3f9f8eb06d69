"""Membership: which rows are alike, how they are pooled, and what answers say of having trained on them."""
