// An ONNX file on disk, before ONNX Runtime opens it: what lstn wrote into it, and whether it is whole.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace lstn {

// A file in memory, as the system maps it.
//
// Throws Failure: it can't be read, or is larger than a model can be.
class MappedFile {
  public:
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    std::string_view data() const { return {address_, size_}; }

  private:
    char* address_ = nullptr;
    std::size_t size_ = 0;
};

// The contract's text in an ONNX file, under the key "lstn" of its metadata.
//
// ONNX Runtime reads whatever path a model names as external data. A model of lstn is one file, so one with weights in
// other files is refused before ONNX Runtime sees it. `path` names the file in errors.
//
// Throws Failure: no ONNX model, cut off, with weights in other files, or without a contract.
std::string contract_text(std::string_view data, const std::string& path);

}  // namespace lstn
