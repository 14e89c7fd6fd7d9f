#include "engine/io/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "kernels/error.h"

namespace imago {
namespace fs = std::filesystem;
namespace {

std::string reason(int error) {
  return std::system_category().message(error);
}

[[noreturn]] void cannot_write(const fs::path& path, int error) {
  failure(path.string(), ": cannot write: ", reason(error));
}

// "run/model.json" -> "run/model.json.tmp-4711-0". The number tells apart the files of one program.
fs::path temporary_name(const fs::path& path) {
  static std::atomic<int> counter{0};
  fs::path name = path;
  name += ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(counter++);
  return name;
}

// The process id in "NAME.tmp-<pid>-<n>", or 0 if the name does not have that form.
pid_t owner_of(const std::string& name) {
  const size_t at = name.rfind(".tmp-");
  if (at == std::string::npos || at == 0) return 0;
  const std::string tail = name.substr(at + 5);
  const size_t dash = tail.find('-');
  const auto digits = [](std::string_view s) {
    return !s.empty() && s.size() < 10 && s.find_first_not_of("0123456789") == s.npos;
  };
  if (dash == tail.npos || !digits(tail.substr(0, dash)) || !digits(tail.substr(dash + 1))) return 0;
  return std::atoi(tail.c_str());
}

// Whoever writes a temporary holds a lock on it, and the kernel drops the lock when the program dies. Where
// the file system knows no locks, ask whether the process still lives.
bool in_use(const fs::path& path, pid_t owner) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno != ENOENT && (kill(owner, 0) == 0 || errno != ESRCH);
  bool used = false;
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) used = errno == EWOULDBLOCK || kill(owner, 0) == 0 || errno != ESRCH;
  close(fd);
  return used;
}

int sync_fd(int fd) {
  while (fsync(fd) != 0) {
    if (errno == EINTR) continue;
    return errno == EINVAL || errno == EROFS ? 0 : errno;  // not something that can be synced
  }
  return 0;
}

// Makes a rename inside the folder durable. A folder that may not be opened for reading is let through: the
// rename itself has happened.
int sync_path(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == EACCES ? 0 : errno;
  const int error = sync_fd(fd);
  close(fd);
  return error;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

// Path without a trailing slash, so that a suffix can be added.
fs::path plain(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

std::string read_file(const fs::path& path) {
  const auto refuse = [&](int error) { bad_input(path.string(), ": cannot read: ", reason(error)); };
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) refuse(errno);
  struct stat info;  // the size is a hint: /proc says 0, a growing file too little
  const bool sized = fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  std::string content(sized ? static_cast<size_t>(info.st_size) + 1 : 65536, '\0');
  size_t filled = 0;
  for (;;) {
    if (filled == content.size()) content.resize(2 * filled + 65536);
    const ssize_t n = read(fd, content.data() + filled, content.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    const int error = errno;
    if (n <= 0) close(fd);
    if (n < 0) refuse(error);
    if (n == 0) break;
    filled += static_cast<size_t>(n);
  }
  content.resize(filled);
  return content;
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)), temporary_(temporary_name(path_)) {
  fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) cannot_write(path_, errno);
  flock(fd_, LOCK_EX | LOCK_NB);  // marks it as in use; see in_use
}

AtomicFile::~AtomicFile() {
  discard();
}

void AtomicFile::discard() {
  if (fd_ < 0) return;
  unlink(temporary_.c_str());
  close(fd_);
  fd_ = -1;
}

void AtomicFile::fail(int error) {
  discard();
  cannot_write(path_, error);
}

void AtomicFile::write(const void* data, size_t bytes) {
  check(fd_ >= 0, path_.string(), ": written to after the end");
  const char* at = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t n = ::write(fd_, at, std::min<size_t>(bytes, 1 << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errno);
    at += n;
    bytes -= static_cast<size_t>(n);
  }
}

void AtomicFile::commit() {
  check(fd_ >= 0, path_.string(), ": committed twice");
  if (const int error = sync_fd(fd_)) fail(error);
  if (rename(temporary_.c_str(), path_.c_str()) != 0) fail(errno);
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0 && errno != EINTR) cannot_write(path_, errno);
  if (const int error = sync_path(folder_of(path_))) cannot_write(path_, error);
}

void write_file(const fs::path& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

StagedFolder::StagedFolder(fs::path target) : target_(plain(target)), temporary_(temporary_name(target_)) {
  if (mkdir(temporary_.c_str(), 0777) != 0) cannot_write(target_, errno);
  fd_ = open(temporary_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) {
    const int error = errno;
    rmdir(temporary_.c_str());
    cannot_write(target_, error);
  }
  flock(fd_, LOCK_EX | LOCK_NB);
}

StagedFolder::~StagedFolder() {
  discard();
}

void StagedFolder::discard() {
  if (fd_ < 0) return;
  std::error_code ignored;
  fs::remove_all(temporary_, ignored);
  close(fd_);
  fd_ = -1;
}

void StagedFolder::commit() {
  check(fd_ >= 0, target_.string(), ": committed twice");
  const auto fail = [&](int error) {
    discard();
    cannot_write(target_, error);
  };
  std::error_code error;
  fs::recursive_directory_iterator it(temporary_, error), end;
  for (; !error && it != end; it.increment(error)) {
    if (it->is_symlink()) continue;
    if (const int e = sync_path(it->path())) fail(e);
  }
  if (error) fail(error.value());
  if (const int e = sync_fd(fd_)) fail(e);

  if (!fs::exists(fs::symlink_status(target_, error))) {
    if (rename(temporary_.c_str(), target_.c_str()) != 0) fail(errno);
  } else if (renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), RENAME_EXCHANGE) == 0) {
    fs::remove_all(temporary_, error);  // now the old one
  } else {  // a file system without exchange: for a moment only the old folder's other name exists
    const fs::path old = temporary_name(target_);
    if (rename(target_.c_str(), old.c_str()) != 0) fail(errno);
    if (rename(temporary_.c_str(), target_.c_str()) != 0) {
      const int e = errno;
      if (rename(old.c_str(), target_.c_str()) != 0)
        failure(target_.string(), ": lies now at ", old.string());
      fail(e);
    }
    fs::remove_all(old, error);
  }
  close(fd_);
  fd_ = -1;
  if (const int e = sync_path(folder_of(target_))) cannot_write(target_, e);
}

std::vector<fs::path> remove_stale_temporaries(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const pid_t owner = owner_of(it->path().filename().string());
    if (owner > 0 && !in_use(it->path(), owner)) found.push_back(it->path());
  }
  std::sort(found.begin(), found.end());
  std::erase_if(found, [](const fs::path& path) {
    std::error_code failed;
    fs::remove_all(path, failed);
    return static_cast<bool>(failed);
  });
  return found;
}

}  // namespace imago
