// Running the real programs as a user would, and as a user's bad luck would.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace imago::test {

using Arguments = std::vector<std::string>;

struct Finished {
  int code = 0;         // exit code, or 128 + signal where a signal killed it
  bool killed = false;  // by a signal
  std::string out, err;
};

/// A program of ours that runs in the background, with two OpenMP threads whatever the machine: results are
/// the same bits for a given number. Its output goes to files in a folder of its own.
class Program {
 public:
  /// file_size_limit: what RLIMIT_FSIZE it gets, in bytes (0: none): the way a test meets a full disk without
  /// a disk.
  Program(const std::string& name, const Arguments& arguments, uint64_t file_size_limit = 0);
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();  // kills it if need be

  pid_t pid() const { return pid_; }
  void signal(int number) const;
  bool running();
  Finished wait();          // once
  std::string err() const;  // so far

 private:
  std::filesystem::path folder_;
  pid_t pid_ = -1;
  int status_ = 0;
  bool reaped_ = false;
};

Finished run_program(const std::string& name, const Arguments& arguments, uint64_t file_size_limit = 0);

/// The program ends with exit code 2 and one line on standard error, which contains every one of `parts`.
void expect_refused(const std::string& program, const Arguments& arguments,
                    const std::vector<std::string>& parts);

}  // namespace imago::test
