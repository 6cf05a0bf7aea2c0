// Counters per second for `evsctl -w`: a column "rx_packets/s" beside each column that counts. Pure.
#pragma once

#include <jansson.h>

// The columns with those for rates put in; new reference.
json_t *rates_columns(const json_t *columns);

// Copies of the rows with rates against the rows of `seconds` ago (NULL = there are none yet); new
// reference. A row is the same one if all its columns without a unit are the same.
json_t *rates_rows(const json_t *columns, const json_t *rows, const json_t *before, double seconds);
