-- Writes nothing, but is refused where a write would be.
return 1
