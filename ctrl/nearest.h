// "Did you mean": how far a mistyped word is from a known one. Pure, any thread.
#pragma once

// Letters to insert, delete, replace or swap with their neighbour; words beyond 63 bytes are far from all.
unsigned nearest_distance(const char *a, const char *b);
// The same, UINT_MAX when it is so large that a suggestion would not help.
unsigned nearest_rank(const char *typed, const char *known);
