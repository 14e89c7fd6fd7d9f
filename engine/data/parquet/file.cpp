#include "engine/data/parquet/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "engine/data/parquet/little_endian.h"
#include "kernels/error.h"

namespace imago::parquet {
namespace {

constexpr std::string_view kMagic = "PAR1", kEncryptedMagic = "PARE";
constexpr int64_t kMagicBytes = kPagesBegin, kTailBytes = 8;  // length of the footer and magic

}  // namespace

ParquetFile::ParquetFile(const std::filesystem::path& path) : path_(path) {
  const auto refuse = [&](int error) {
    bad_input(name(), ": cannot read: ", std::system_category().message(error));
  };
  fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd_ < 0) refuse(errno);
  try {
    struct stat info;
    if (fstat(fd_, &info) != 0) refuse(errno);
    if (!S_ISREG(info.st_mode)) bad_input(name(), ": not a file");
    size_ = info.st_size;
    read_footer();
    check_row_groups();
  } catch (...) {
    close(fd_);
    throw;
  }
}

ParquetFile::~ParquetFile() {
  close(fd_);
}

std::string ParquetFile::read(int64_t offset, size_t count) const {
  if (offset < 0 || offset > size_ || count > static_cast<size_t>(size_ - offset))
    bad_input(name(), ": truncated: ", count, " bytes expected at byte ", offset, " of ", size_);
  std::string bytes(count, '\0');
  for (size_t done = 0; done < count;) {
    const ssize_t n = pread(fd_, bytes.data() + done, count - done, offset + static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) bad_input(name(), ": cannot read: ", std::system_category().message(errno));
    if (n == 0) bad_input(name(), ": truncated while it was being read");
    done += static_cast<size_t>(n);
  }
  return bytes;
}

void ParquetFile::read_footer() {
  if (size_ < kMagicBytes + kTailBytes)
    bad_input(name(), ": not a Parquet file: ", size_, " bytes, fewer than an empty one has");
  const std::string head = read(0, kMagicBytes), tail = read(size_ - kTailBytes, kTailBytes);
  if (head == kEncryptedMagic) bad_input(name(), ": an encrypted Parquet file; expected a plain one");
  if (head != kMagic) bad_input(name(), ": not a Parquet file: it does not begin with ", kMagic);
  if (!tail.ends_with(kMagic)) bad_input(name(), ": truncated Parquet file: it does not end with ", kMagic);
  const int64_t length = little_endian<uint32_t>(tail.data());
  pages_end_ = size_ - kTailBytes - length;
  if (pages_end_ < kMagicBytes)
    bad_input(name(), ": truncated or corrupt Parquet file: a footer of ", length, " bytes in ", size_);
  const std::string where = name() + ": footer";
  metadata_ = read_file_metadata(read(pages_end_, static_cast<size_t>(length)), where);
  leaves_ = schema_leaves(metadata_.schema, where);
}

void ParquetFile::check_row_groups() const {
  constexpr int64_t kMoreRows = 1 << 20;
  if (metadata_.num_rows > size_ + kMoreRows)
    bad_input(name(), ": claims ", metadata_.num_rows, " rows in ", size_, " bytes");
  int64_t rows = 0;
  for (const RowGroup& group : metadata_.row_groups) {
    if (group.num_rows > metadata_.num_rows - rows)
      bad_input(name(), ": corrupt: row groups with more rows than the file's ", metadata_.num_rows);
    rows += group.num_rows;
    if (group.columns.size() != leaves_.size())
      bad_input(name(), ": corrupt: a row group has ", group.columns.size(), " column chunks, not ",
                leaves_.size());
  }
  if (rows != metadata_.num_rows)
    bad_input(name(), ": corrupt: ", metadata_.num_rows, " rows, but ", rows, " in its row groups");
}

}  // namespace imago::parquet
