// What the compiler made of the hot kernels for sm_90a, as lab/sass counts it: bench/results/cuda_sass.md.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace imago {

class SassTable {
 public:
  /// Bad input where the file is not a table of lab/sass.
  explicit SassTable(const std::string& file);

  /// Instructions of a warp in one turn of an innermost loop: the longest one that has instructions of class
  /// `with` and none of `without`. Kernels go by how their names begin; a kernel or loop that is not in
  /// the table is an error.
  double loop(std::string_view kernel, const std::string& with, const std::string& without = "") const;
  /// How many of them are of one class.
  double in_loop(std::string_view kernel, const std::string& of, const std::string& with,
                 const std::string& without = "") const;
  /// Instructions between the last loop of wgmma and the last store.
  double end(std::string_view kernel) const;

 private:
  struct Row {
    std::string kernel, loop;  // "all", "1", "2", .., "end"
    std::map<std::string, int> counts;
  };
  const Row& find(std::string_view kernel, const std::string& with, const std::string& without) const;

  std::string file_;
  std::vector<Row> rows_;
};

/// The table of this tree.
const SassTable& sass_table();

}  // namespace imago
