#include "engine/data/parquet/schema.h"

#include "kernels/error.h"

namespace imago::parquet {
namespace {

constexpr size_t kMaxDepth = 64;

class TreeWalk {
 public:
  TreeWalk(const std::vector<SchemaElement>& schema, const std::string& where)
      : schema_(schema), where_(where) {}

  std::vector<Leaf> run() {
    if (schema_.empty() || schema_[0].type) bad_input(where_, ": corrupt: the schema has no root");
    ++next_;
    for (int32_t i = 0; i < schema_[0].num_children; ++i) visit({});
    if (next_ != schema_.size()) bad_input(where_, ": corrupt: the schema is more than one tree");
    return std::move(leaves_);
  }

 private:
  // Goes through the node that is next and all below it; `above` has the path to it.
  void visit(Leaf above) {
    if (next_ == schema_.size()) bad_input(where_, ": corrupt: the schema lacks children");
    if (above.path.size() == kMaxDepth) bad_input(where_, ": the schema is nested too deeply");
    const SchemaElement& node = schema_[next_++];
    above.path.push_back(node.name);
    above.max_definition += node.repetition != Repetition::kRequired;
    above.max_repetition += node.repetition == Repetition::kRepeated;
    if (node.type) {
      above.type = *node.type;
      above.text = node.text;
      above.index = leaves_.size();
      leaves_.push_back(std::move(above));
      return;
    }
    for (int32_t i = 0; i < node.num_children; ++i) visit(above);
  }

  const std::vector<SchemaElement>& schema_;
  const std::string& where_;
  std::vector<Leaf> leaves_;
  size_t next_ = 0;
};

}  // namespace

std::string Leaf::name() const {
  std::string text;
  for (const std::string& part : path) text += (text.empty() ? "" : ".") + part;
  return text;
}

std::vector<Leaf> schema_leaves(const std::vector<SchemaElement>& schema, const std::string& where) {
  return TreeWalk(schema, where).run();
}

}  // namespace imago::parquet
