// A model in ONNX Runtime.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "contract.h"
#include "picture.h"

namespace lstn {

// logits: one for each label; theta: in the order of Contract::theta_shape
struct Answer {
    std::vector<float> logits, theta;

    bool finite() const;
};

// Runs an ONNX model on the CPU, as lstn.runtime.engines.onnxruntime_engine does.
//
// Throws Failure: ONNX Runtime can't open or compute it, or its inputs and outputs are not those of the contract.
class Classifier {
  public:
    // model: bytes of the file, read here; path: its name, for errors; threads: within one operator, 0: one for each
    // core
    Classifier(std::string_view model, const std::string& path, const Contract& contract, int threads);
    ~Classifier();

    // pixels: of the input's size
    Answer answer(Picture& pixels);

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace lstn
