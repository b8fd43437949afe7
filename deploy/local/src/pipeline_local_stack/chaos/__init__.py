"""`make chaos`: the whole stack under seeded faults, healed, and judged by its three ledgers and its databases."""
