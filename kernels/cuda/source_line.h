// Where in the source a call stands: a default argument, so that every report can name file and line.
#pragma once

namespace imago {

struct SourceLine {
  const char* file = "";
  int line = 0;

#ifdef __CUDACC__
  __host__ __device__
#endif
      static constexpr SourceLine
      current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
  bool operator==(const SourceLine&) const = default;
};

}  // namespace imago
