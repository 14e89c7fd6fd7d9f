// A column of whole numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/data/parquet/pages.h"

namespace imago::parquet {

/// The values of all rows of a BOOLEAN, INT32 or INT64 column, with `null` where there is none. Bad input as
/// ColumnPages::read and decode_integers, and for dictionaries that are missing or too short.
std::vector<int64_t> read_integers(const ColumnPages& column, int64_t null);

}  // namespace imago::parquet
