// Files and folders that exist completely or not at all, whatever happens while they are written.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace imago {

/// The bytes of a file. A missing or unreadable file, or a folder, is bad input: "PATH: cannot read: REASON".
std::string read_file(const std::filesystem::path& path);

/// A file under construction: bytes go to `PATH.tmp-<pid>-<n>` beside it; commit() syncs them to the disk and
/// renames. Until then PATH keeps its old content, or its absence. Every error removes the temporary file and
/// throws a failure "PATH: cannot write: No space left on device". Not committed means never written.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();
  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail(int error);
  void discard();
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

/// The whole content at once, through AtomicFile.
void write_file(const std::filesystem::path& path, std::string_view content);

/// A folder under construction, as a checkpoint is: fill path(), then commit(). The folder is built as
/// `TARGET.tmp-<pid>-<n>`; commit() syncs every file in it to the disk and renames it to TARGET. An older
/// folder of that name is replaced in one step. Not committed means removed; a killed program leaves its
/// temporary folder behind, for remove_stale_temporaries to find.
class StagedFolder {
 public:
  explicit StagedFolder(std::filesystem::path target);
  StagedFolder(const StagedFolder&) = delete;
  StagedFolder& operator=(const StagedFolder&) = delete;
  ~StagedFolder();
  const std::filesystem::path& path() const { return temporary_; }
  void commit();

 private:
  void discard();
  std::filesystem::path target_, temporary_;
  int fd_ = -1;  // holds the lock that says "in use"
};

/// Removes what killed programs left in `folder` (not below it): files and folders named `*.tmp-<pid>-<n>`
/// that no living program still writes. Returns what was removed.
std::vector<std::filesystem::path> remove_stale_temporaries(const std::filesystem::path& folder);

}  // namespace imago
