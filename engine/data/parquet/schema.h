// The columns of a Parquet file: the leaves of its schema.
#pragma once

#include <string>
#include <vector>

#include "engine/data/parquet/metadata.h"

namespace imago::parquet {

/// A column. It has as many values as the file has rows if it is not repeated; a value is null if anything on
/// its path that may be absent is absent.
struct Leaf {
  std::vector<std::string> path;  // {"image", "bytes"}
  Type type = Type::kBoolean;
  bool text = false;
  size_t index = 0;        // of its chunks in a row group
  int max_definition = 0;  // optional (and repeated) nodes on the path
  int max_repetition = 0;  // repeated nodes on the path

  /// "image.bytes"
  std::string name() const;
};

/// The leaves in the order of the file. Bad input "WHERE: ..." if the elements do not form one tree, or one
/// that is more than 64 deep.
std::vector<Leaf> schema_leaves(const std::vector<SchemaElement>& schema, const std::string& where);

}  // namespace imago::parquet
