#include "tests/apps/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "tests/support/temp_folder.h"

namespace imago::test {
namespace fs = std::filesystem;

namespace {

[[noreturn]] void become(const fs::path& folder, const std::vector<char*>& argv, uint64_t file_size_limit) {
  const auto open_as = [](const fs::path& path, int fd) {
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0 || dup2(file, fd) < 0) _exit(99);
  };
  open_as(folder / "out", 1);
  open_as(folder / "err", 2);
  for (int s : {SIGINT, SIGTERM, SIGHUP}) ::signal(s, SIG_DFL);  // whatever the test's own parent ignores
  if (file_size_limit > 0) {
    const rlimit limit{file_size_limit, file_size_limit};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  setenv("OMP_NUM_THREADS", "2", 1);
  setenv("OMP_WAIT_POLICY", "passive", 1);
  execv(argv[0], argv.data());
  _exit(98);
}

}  // namespace

Program::Program(const std::string& name, const Arguments& arguments, uint64_t file_size_limit) {
  std::string folder = (fs::temp_directory_path() / "imago-program-XXXXXX").string();
  if (!mkdtemp(folder.data())) throw std::runtime_error("mkdtemp " + folder);
  folder_ = folder;
  std::vector<std::string> all = {std::string(IMAGO_BIN_DIR) + "/" + name};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& a : all) argv.push_back(a.data());
  argv.push_back(nullptr);
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) become(folder_, argv, file_size_limit);
}

Program::~Program() {
  if (!reaped_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

void Program::signal(int number) const {
  if (!reaped_) kill(pid_, number);
}

bool Program::running() {
  if (!reaped_ && waitpid(pid_, &status_, WNOHANG) == pid_) reaped_ = true;
  return !reaped_;
}

Finished Program::wait() {
  if (!reaped_) waitpid(pid_, &status_, 0);
  reaped_ = true;
  Finished f;
  f.killed = WIFSIGNALED(status_);
  f.code = f.killed ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_);
  f.out = get(folder_ / "out");
  f.err = err();
  return f;
}

std::string Program::err() const {
  return get(folder_ / "err");
}

Finished run_program(const std::string& name, const Arguments& arguments, uint64_t file_size_limit) {
  return Program(name, arguments, file_size_limit).wait();
}

void expect_refused(const std::string& program, const Arguments& arguments,
                    const std::vector<std::string>& parts) {
  const Finished f = run_program(program, arguments);
  EXPECT_EQ(f.code, 2) << f.err;
  EXPECT_EQ(std::count(f.err.begin(), f.err.end(), '\n'), 1) << f.err;
  EXPECT_EQ(f.err.rfind(program + ": ", 0), 0u) << f.err;
  for (const std::string& part : parts)
    EXPECT_NE(f.err.find(part), std::string::npos) << part << " is not in: " << f.err;
}

}  // namespace imago::test
