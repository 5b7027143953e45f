// What goes wrong, as `lstn infer` says it: one line with what was found and what was wanted, and what to do.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace lstn {

// Ends the program. hint: what to do; exit_code: 1, or 2 for wrong use.
struct Failure : std::runtime_error {
    explicit Failure(const std::string& message, std::string hint = "", int exit_code = 1)
        : std::runtime_error(message), hint(std::move(hint)), exit_code(exit_code) {}
    std::string hint;
    int exit_code;
};

// The command was typed wrongly, or the model is of a task that is not served here.
struct UsageFailure : Failure {
    explicit UsageFailure(const std::string& message, std::string hint = "") : Failure(message, std::move(hint), 2) {}
};

// One image has no pixels. It becomes a row with this error, and the others go on.
struct ImageFailure : std::runtime_error {
    using std::runtime_error::runtime_error;
};

}  // namespace lstn
