#include "onnx_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "failure.h"

namespace lstn {
namespace {

constexpr std::size_t kMostBytes = (std::size_t(1) << 31) - 1;  // a protobuf message can't be larger
constexpr int kMostDepth = 32;
constexpr long kMostFields = 5'000'000;
constexpr char kExport[] = "make one with: lstn export";

// Messages of onnx.proto in which a TensorProto can hide.
enum class Kind { model, training, function, graph, node, attribute, sparse, tensor, other };

// What a field of a message holds; field numbers are those of onnx.proto.
Kind kind_of(Kind parent, std::uint64_t field) {
    switch (parent) {
        case Kind::model:
            return field == 7 ? Kind::graph : field == 20 ? Kind::training : field == 25 ? Kind::function : Kind::other;
        case Kind::training:
            return field == 1 || field == 2 ? Kind::graph : Kind::other;
        case Kind::function:
            return field == 7 ? Kind::node : field == 11 ? Kind::attribute : Kind::other;
        case Kind::graph:
            return field == 1 ? Kind::node : field == 5 ? Kind::tensor : field == 15 ? Kind::sparse : Kind::other;
        case Kind::node:
            return field == 5 ? Kind::attribute : Kind::other;
        case Kind::attribute:
            if (field == 5 || field == 10) return Kind::tensor;
            if (field == 6 || field == 11) return Kind::graph;
            return field == 22 || field == 23 ? Kind::sparse : Kind::other;
        case Kind::sparse:
            return field == 1 || field == 2 ? Kind::tensor : Kind::other;
        default:
            return Kind::other;
    }
}

struct Damage {
    const char* reason;
};

// One field of a message: a number, or bytes.
struct Field {
    std::uint64_t name = 0;
    std::uint64_t number = 0;
    std::optional<std::string_view> bytes;

    std::string_view message() const {
        if (!bytes) throw Damage{"a number stands where a message belongs"};
        return *bytes;
    }
};

// Walks the messages of one file (Protocol Buffers, encoding).
class Walk {
  public:
    // Visit everything below a message; remember what it finds.
    void visit(std::string_view data, Kind kind, int depth);

    std::optional<std::string> contract;
    bool graph = false, external_data = false;

  private:
    Field next(std::string_view& data);
    static std::uint64_t varint(std::string_view& data);
    void read_metadata(std::string_view pair);

    long fields_left_ = kMostFields;
};

void Walk::visit(std::string_view data, Kind kind, int depth) {
    if (depth > kMostDepth) throw Damage{"it nests too deep"};
    while (!data.empty()) {
        const Field field = next(data);
        const Kind child = kind_of(kind, field.name);
        graph = graph || (kind == Kind::model && child == Kind::graph);
        if (child != Kind::other)
            visit(field.message(), child, depth + 1);
        else if (kind == Kind::model && field.name == 14)
            read_metadata(field.message());
        else if (kind == Kind::tensor && (field.name == 13 || (field.name == 14 && field.number == 1)))
            external_data = true;
    }
}

void Walk::read_metadata(std::string_view pair) {
    std::string_view key, value;
    while (!pair.empty()) {
        const Field field = next(pair);
        if (field.name == 1) key = field.message();
        if (field.name == 2) value = field.message();
    }
    if (key == "lstn") contract = value;
}

Field Walk::next(std::string_view& data) {
    if (--fields_left_ < 0) throw Damage{"too many fields"};
    const std::uint64_t tag = varint(data), wire = tag & 7;
    Field field{tag >> 3, 0, std::nullopt};
    if (wire == 0) {
        field.number = varint(data);
        return field;
    }
    if (wire != 1 && wire != 2 && wire != 5) throw Damage{"an unknown wire type"};
    const std::uint64_t size = wire == 2 ? varint(data) : wire == 1 ? 8 : 4;
    if (field.name == 0 || size > data.size()) throw Damage{"a field reaches beyond the end"};
    field.bytes = data.substr(0, size);
    data.remove_prefix(size);
    return field;
}

std::uint64_t Walk::varint(std::string_view& data) {
    std::uint64_t value = 0;
    for (int shift = 0; !data.empty() && shift < 64; shift += 7) {
        const auto byte = static_cast<unsigned char>(data.front());
        data.remove_prefix(1);
        value |= std::uint64_t(byte & 0x7F) << shift;
        if (byte < 0x80) return value;
    }
    throw Damage{"a number has no end"};
}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
    const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    struct stat status{};
    if (descriptor < 0) throw Failure(path + ": " + std::strerror(errno));
    std::string problem;
    if (fstat(descriptor, &status) != 0)
        problem = std::strerror(errno);
    else if (!S_ISREG(status.st_mode))
        problem = "not a regular file";
    else if (static_cast<std::size_t>(status.st_size) > kMostBytes)
        problem = "larger than an ONNX file can be";
    else if (status.st_size == 0)
        problem = "the file is empty";
    if (problem.empty()) {
        void* const mapped =
            mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor, 0);
        if (mapped == MAP_FAILED) {
            problem = std::strerror(errno);
        } else {
            address_ = static_cast<char*>(mapped);
            size_ = static_cast<std::size_t>(status.st_size);
        }
    }
    close(descriptor);
    if (!problem.empty()) throw Failure(path + ": " + problem);
}

MappedFile::~MappedFile() { munmap(address_, size_); }

std::string contract_text(std::string_view data, const std::string& path) {
    Walk walk;
    try {
        walk.visit(data, Kind::model, 0);
        if (!walk.graph) throw Damage{"it holds no graph"};
    } catch (const Damage& damage) {
        throw Failure(path + ": not an ONNX model, or cut off (" + damage.reason + ")", kExport);
    }
    if (!walk.contract) throw Failure(path + ": no contract, so it wasn't written by lstn", kExport);
    if (walk.external_data)
        throw Failure(path + ": keeps weights in other files; lstn reads models of one file", kExport);
    return *walk.contract;
}

}  // namespace lstn
