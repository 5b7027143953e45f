#include "classifier.h"

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "failure.h"
#include "text.h"

namespace lstn {
namespace {

using Shape = std::vector<std::int64_t>;

constexpr std::array<const char*, 1> kInputs{"pixels"};
constexpr std::array<const char*, 2> kOutputs{"logits", "theta"};
constexpr std::size_t kMostTold = 300;

struct Tensor {
    std::string name;
    ONNXTensorElementDataType type;
    Shape shape;  // -1 where a size is left open
};

// A size that the file leaves open may turn out right, and is checked again when the model answers.
bool fits(const Tensor& found, const Tensor& wanted) {
    if (found.name != wanted.name || found.type != wanted.type || found.shape.size() != wanted.shape.size())
        return false;
    for (std::size_t axis = 0; axis < found.shape.size(); ++axis)
        if (found.shape[axis] != wanted.shape[axis] && (axis == 0 || found.shape[axis] != -1)) return false;
    return true;
}

std::string listed(const std::vector<Tensor>& tensors) {
    std::string text;
    for (const Tensor& tensor : tensors) {
        text += (text.empty() ? "" : ", ") + tensor.name.substr(0, 80) + " (";
        for (std::size_t axis = 0; axis < tensor.shape.size(); ++axis)
            text += (axis ? ", " : "") + (tensor.shape[axis] == -1 ? "N" : std::to_string(tensor.shape[axis]));
        text += ")";
    }
    return text;
}

void check_tensors(const std::string& what, const std::vector<Tensor>& found, const std::vector<Tensor>& wanted) {
    const auto has = [&](const Tensor& each) {
        return std::any_of(found.begin(), found.end(), [&](const Tensor& other) { return fits(other, each); });
    };
    if (found.size() == wanted.size() && std::all_of(wanted.begin(), wanted.end(), has)) return;
    throw Failure(what + " are " + listed(found) + "; its contract says " + listed(wanted) + ", of other types perhaps",
                  "make it again with: lstn export");
}

Tensor described(std::string name, const Ort::TypeInfo& type) {
    if (type.GetONNXType() != ONNX_TYPE_TENSOR) return {std::move(name), ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, {}};
    const auto tensor = type.GetTensorTypeAndShapeInfo();
    return {std::move(name), tensor.GetElementType(), tensor.GetShape()};
}

Shape batch_of(const Shape& shape, std::int64_t count) {
    Shape batch{count};
    batch.insert(batch.end(), shape.begin(), shape.end());
    return batch;
}

std::vector<float> numbers(const Ort::Value& value, const Shape& shape, const std::string& path) {
    if (value.GetTensorTypeAndShapeInfo().GetShape() != shape)
        throw Failure(path + ": it answers with another shape than its contract says",
                      "make it again with: lstn export");
    const auto* first = value.GetTensorData<float>();
    return {first, first + value.GetTensorTypeAndShapeInfo().GetElementCount()};
}

// ONNX Runtime as it is set up in lstn.formats.onnx_session: it says nothing by itself, and waits without spinning.
Ort::SessionOptions options_of(int threads) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(threads);
    options.SetLogSeverityLevel(ORT_LOGGING_LEVEL_FATAL);
    options.AddConfigEntry("session.intra_op.allow_spinning", "0");
    // Ends the process where it meets a float16 Transpose before a MatMul, in ONNX Runtime 1.31.
    options.AddConfigEntry("optimization.disable_specified_optimizers", "MatmulTransposeFusion");
    return options;
}

}  // namespace

bool Answer::finite() const {
    const auto is_finite = [](float number) { return std::isfinite(number); };
    return std::all_of(logits.begin(), logits.end(), is_finite) && std::all_of(theta.begin(), theta.end(), is_finite);
}

struct Classifier::State {
    State(std::string_view model, const std::string& path, const Contract& contract, int threads)
        : path(path),
          environment(ORT_LOGGING_LEVEL_FATAL, "lstn-infer"),
          session(environment, model.data(), model.size(), options_of(threads)),
          input{1, contract.framing.input.height, contract.framing.input.width, 3},
          logits{1, static_cast<std::int64_t>(contract.labels.size())},
          theta(batch_of(contract.theta_shape, 1)),
          output_count(contract.theta_shape.empty() ? 1 : 2) {}

    std::string path;
    Ort::Env environment;
    Ort::Session session;
    Shape input, logits, theta;  // of a batch of one image
    std::size_t output_count;

    void check() {
        Ort::AllocatorWithDefaultOptions allocator;
        std::vector<Tensor> inputs, outputs;
        for (std::size_t index = 0; index < session.GetInputCount(); ++index)
            inputs.push_back(
                described(session.GetInputNameAllocated(index, allocator).get(), session.GetInputTypeInfo(index)));
        for (std::size_t index = 0; index < session.GetOutputCount(); ++index)
            outputs.push_back(
                described(session.GetOutputNameAllocated(index, allocator).get(), session.GetOutputTypeInfo(index)));
        const auto open = [](Shape shape) { return shape[0] = -1, shape; };
        check_tensors(path + ": its inputs", inputs, {{kInputs[0], ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, open(input)}});
        std::vector<Tensor> wanted{{kOutputs[0], ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, open(logits)}};
        if (output_count == 2) wanted.push_back({kOutputs[1], ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, open(theta)});
        check_tensors(path + ": its outputs", outputs, wanted);
    }
};

Classifier::Classifier(std::string_view model, const std::string& path, const Contract& contract, int threads) {
    const std::string version = OrtGetApiBase()->GetVersionString();
    if (OrtGetApiBase()->GetApi(ORT_API_VERSION) == nullptr)
        throw Failure("ONNX Runtime " + version + " is older than the headers that this program was built with",
                      "install 1." + std::to_string(ORT_API_VERSION) + " or newer");
    try {
        state_ = std::make_unique<State>(model, path, contract, threads);
        state_->check();
    } catch (const Ort::Exception& error) {
        throw Failure(path + ": ONNX Runtime " + version + " can't open it: " + one_line(error.what(), kMostTold));
    }
}

Classifier::~Classifier() = default;

Answer Classifier::answer(Picture& pixels) {
    try {
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        const auto input = Ort::Value::CreateTensor<std::uint8_t>(memory, pixels.rgb.data(), pixels.rgb.size(),
                                                                  state_->input.data(), state_->input.size());
        const std::vector<Ort::Value> outputs = state_->session.Run(Ort::RunOptions{nullptr}, kInputs.data(), &input, 1,
                                                                    kOutputs.data(), state_->output_count);
        Answer answer{numbers(outputs[0], state_->logits, state_->path), {}};
        if (state_->output_count == 2) answer.theta = numbers(outputs[1], state_->theta, state_->path);
        return answer;
    } catch (const Ort::Exception& error) {
        throw Failure(state_->path + ": ONNX Runtime failed: " + one_line(error.what(), kMostTold));
    }
}

}  // namespace lstn
