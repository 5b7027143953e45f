// What a model is, as far as a classifier is run by it: the contract that lstn writes into each model file
// (docs/reference/contract.md).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "framing.h"

namespace lstn {

// labels:      one for each logit
// theta_shape: of one image; empty for a model without a transformer
// framing:     how a photo becomes an input
struct Contract {
    std::vector<std::string> labels;
    std::vector<std::int64_t> theta_shape;
    Framing framing;
};

// Read a contract from untrusted text; `path` names the file in errors.
//
// Throws Failure: damaged, of a newer version, or of a model that does not classify.
Contract read_contract(const std::string& text, const std::string& path);

}  // namespace lstn
