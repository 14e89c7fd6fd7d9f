// Which Parquet files of a folder belong together.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace imago::parquet {

/// The Parquet files that `folder` has for a split, in the byte order of their names, as the hub lays them
/// out: they lie in the folder itself, in data/, in SPLIT/ or in default/SPLIT/ (the first of these that has
/// any). Where names begin with a split (train-00000-of-00002.parquet), those of this one are taken; where
/// none does, all are. Names that begin with a dot and metadata.parquet are passed over. Empty if there are
/// none at all; bad input if there are some, but none of the split.
std::vector<std::filesystem::path> find_shards(const std::filesystem::path& folder, const std::string& split);

}  // namespace imago::parquet
