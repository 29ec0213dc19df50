"""Typed, frozen, named runs; overrides; resolved JSON; the memory estimate. It touches no device."""
